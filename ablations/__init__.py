"""What is compared, running it, and reporting it."""
