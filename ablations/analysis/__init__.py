"""Results to numbers: what a report is made from, statistics, verdicts."""
