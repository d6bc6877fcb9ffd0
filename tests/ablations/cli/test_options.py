"""Options that several commands share."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from ablations.cli.app import app
from awd.errors import InputError
from tests.ablations.conftest import CommandLine

SELECTION = {"suite", "profile", "dataset", "variants", "seeds", "set", "engine", "precision", "results", "data-dir"}
TRAINING = {"jobs", "device", "gpus", "backend", "scheduler", "gpus-per-run", "checkpoint-every", "time-limit"}
TRAINING |= {"max-restarts", "keep-weights", "force", "retry-failed", "no-audit", "tensorboard"}
OPTIONS = {
    "run": SELECTION | TRAINING | {"all", "reports", "reference", "dry-run", "no-report", "open", "quiet"},
    "audit": SELECTION - {"seeds", "results"},
    "report": SELECTION | {"reports", "reference", "interval", "open"},
    "compare": SELECTION | {"reference", "interval", "json"},
    "status": SELECTION | {"watch", "json"},
    "tune": SELECTION - {"variants", "seeds", "results"}
    | {"device", "jobs", "variant", "search", "trials", "time-limit", "study", "start-from", "quiet"},
    "retune": SELECTION | TRAINING | {"search", "trials", "reports", "reference", "quiet"},
}


@pytest.mark.parametrize("command", OPTIONS)
def test_each_command_has_the_options_of_its_groups(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"}).output
    assert set(re.findall(r"--([a-z-]+)  ", text)) - {"help"} == OPTIONS[command]
    assert "What is compared" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--profile", "smoke", "--profile", "demo"], "--profile was given 2 times"),
        (["run", "--all", "-j", "1", "--jobs", "2"], "--jobs was given 2 times"),
        (["tune", "--dataset", "ptb", "--dataset", "wikitext-2"], "--dataset was given 2 times"),
        (["ladder", "--profiles", "demo", "--profiles", "small"], "--profiles was given 2 times"),
        (["status", "--seeds", "2", "--seeds", "3"], "--seeds 2 --seeds 3: lists such as 1,2 add up"),
        (["data", "ptb", "--data-dir", "a", "--data-dir", "b"], "--data-dir was given 2 times"),
    ],
)
def test_an_option_that_would_undo_itself_is_refused(arguments: list[str], said: str) -> None:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, InputError)
    assert said in str(error)


def test_lists_add_up_and_a_flag_may_be_repeated(cli: CommandLine) -> None:
    variants = [
        "--variants",
        "full",
        "--variants",
        "no-ar-tar,full",
        "--seeds",
        "1,2",
        "--seeds",
        "5,",
        "--seeds",
        "2,",
    ]
    done = cli("status", "--profile", "smoke", *variants, "--watch", "--watch", "--help")
    assert done.returncode == 0, done.stderr
    done = cli("status", "--profile", "smoke", *variants)
    rows = [line.split()[1:3] for line in done.stdout.splitlines() if " missing" in line and "`" not in line]
    assert rows == [[name, seed] for seed in ("1", "2", "5") for name in ("full", "no-ar-tar")]
