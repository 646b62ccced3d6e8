"""What a search found, from the records alone."""
