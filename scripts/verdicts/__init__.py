"""What the verdicts are worth: simulated studies whose truth is known."""
