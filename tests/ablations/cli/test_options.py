"""Options that several commands share."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from ablations.cli.app import app

SELECTION = {"suite", "profile", "dataset", "variants", "seeds", "set", "engine", "precision", "results", "data-dir"}
TRAINING = {"jobs", "device", "gpus", "backend", "scheduler", "gpus-per-run", "checkpoint-every", "time-limit"}
TRAINING |= {"max-restarts", "keep-weights", "force", "retry-failed", "no-audit"}
OPTIONS = {
    "run": SELECTION | TRAINING | {"all", "reports", "reference", "dry-run", "no-report"},
    "audit": SELECTION - {"seeds", "results"},
    "report": SELECTION | {"reports", "reference", "interval"},
    "compare": SELECTION | {"reference", "interval"},
    "status": SELECTION | {"watch"},
    "tune": SELECTION - {"variants", "seeds", "results"}
    | {"device", "jobs", "search", "trials", "time-limit", "study", "start-from"},
}


@pytest.mark.parametrize("command", OPTIONS)
def test_each_command_has_the_options_of_its_groups(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"}).output
    assert set(re.findall(r"--([a-z-]+)  ", text)) - {"help"} == OPTIONS[command]
    assert "What is compared" in text
