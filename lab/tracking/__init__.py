"""Weights & Biases: runs and pages sent there, and what cannot be sent now sent later."""
