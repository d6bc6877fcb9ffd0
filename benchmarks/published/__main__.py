"""The command line."""

from benchmarks.published import main

main()
