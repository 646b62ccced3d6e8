"""The pages of a search: what `tune.report` renders. Nothing here computes a number that two renderers show."""
