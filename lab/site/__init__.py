"""Every study of a results folder on one page, as files or served to this machine while studies run."""
