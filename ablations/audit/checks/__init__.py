"""One family of audit cells per module."""
