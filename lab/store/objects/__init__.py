"""Objects in a folder or an object store: written whole, checked when read, one writer at a time."""
