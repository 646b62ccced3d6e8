"""Stacks in training, from the first epoch to their rows on record."""
