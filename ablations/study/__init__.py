"""A study: its file, its arms and cells, and its checks."""
