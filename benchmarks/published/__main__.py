"""The command line."""

from benchmarks.command import run
from benchmarks.published import app

run(app)
