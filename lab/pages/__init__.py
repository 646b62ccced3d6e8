"""Reports as pages: blocks of text, tables and figures, the same strings in HTML and in Markdown."""
