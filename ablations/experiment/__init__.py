"""What is compared, at which scale: suites, profiles, plans, hypotheses. Pure data."""
