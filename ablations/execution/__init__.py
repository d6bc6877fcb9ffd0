"""Training the runs of a plan: processes, backends, signals, progress."""
