"""Statistics and verdicts: pure functions of documented arrays."""
