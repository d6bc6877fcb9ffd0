"""All that knows the results folder: shards, leases, progress, provenance, invocations."""

from pathlib import Path

# the published results; there is no such folder where the package was installed from a wheel
REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
