"""What a study found, from the records alone."""
