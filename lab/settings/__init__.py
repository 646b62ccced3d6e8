"""Settings as files, overrides and sections."""
