"""All that knows the results folder: shards, leases, progress, provenance, invocations."""
