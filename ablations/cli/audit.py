"""The command `audit`: what acts in each variant of a selection."""

from __future__ import annotations

import itertools

from ablations.audit.sweep import audit_specs, key
from ablations.cli.audit_table import print_audits
from ablations.cli.console import stderr, stdout, tell
from ablations.experiment.selection import Selection


def audit_selection(selection: Selection) -> bool:
    """Audit what the command line asked for and print one table per data set; returns whether all act as configured.

    Raises:
        CorpusError: a corpus is not at hand, or too short for a configuration.
    """
    plan = selection.plan(selection.loaded_corpora(tell), seeds=[0])
    outcomes = audit_specs(plan, selection.data_dir, stderr)
    for name, specs in itertools.groupby(plan, key=lambda spec: spec.dataset):
        title = f"suite {selection.suite.name}, profile {selection.profile.name}, {name}"
        print_audits(title, [(spec.variant, outcomes[key(spec)]) for spec in specs], stdout)
    return all(outcome.ok for outcome in outcomes.values())
