"""Ray clusters: files, checks, submission."""
