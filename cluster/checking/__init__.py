"""One file a kind of cluster file, and what can be wrong with it."""
