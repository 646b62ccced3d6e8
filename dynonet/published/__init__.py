"""The published interface and its checkpoints."""
