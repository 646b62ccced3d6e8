"""Layers that several of the rivals share. Shapes: B windows, S steps read, H forecast, C channels, L tokens of D."""
