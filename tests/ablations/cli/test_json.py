"""Output for programs, and no output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from ablations.storage.store import Store
from tests.ablations.conftest import CommandLine, record


@pytest.fixture
def arguments(profile: Path, corpus: Path) -> list[object]:
    fixed = ["--engine", "torch", "--precision", "fp32"]
    return ["--profile", profile, "--dataset", corpus, "--variants", "full,no-ar-tar", *fixed]


def test_programs_read_what_the_tables_say(
    cli: CommandLine, tmp_path: Path, arguments: list[object], selection: Selection
) -> None:
    chosen = {spec.variant: spec for spec in selection.plan(selection.corpora())}
    store = Store(tmp_path / "results")
    record(store, chosen["full"], "done", valid_ppl=9.0, test_ppl=8.5, epochs=5)
    record(store, chosen["no-ar-tar"], "diverged", error="loss not finite", valid_ppl=math.inf)

    status = cli("status", *arguments, "--json")
    assert status.returncode == 1
    full, other = json.loads(status.stdout, parse_constant=pytest.fail)
    assert (full["run_id"], full["status"], full["test_ppl"]) == (chosen["full"].run_id, "done", 8.5)
    assert (other["variant"], other["status"], other["valid_ppl"]) == ("no-ar-tar", "diverged", None)

    compared = cli("compare", *arguments, "--json")
    assert compared.returncode == 0, compared.stderr
    rows = pd.DataFrame(json.loads(compared.stdout, parse_constant=pytest.fail)).set_index("variant")
    assert rows.loc["full", "test_mean"] == 8.5
    assert rows.loc["no-ar-tar", "diverged"] == 1


def test_the_choices_are_listed_for_programs(cli: CommandLine) -> None:
    listed: dict[str, Any] = json.loads(cli("list", "--json").stdout)
    assert listed["suites"]["table5"]["variants"][0]["label"] == "AWD-LSTM (tied)"
    assert listed["profiles"]["smoke"]["seeds"] == [1]
    assert listed["datasets"]["ptb"]["tokens"]["train"] == 929_589


def test_two_outputs_at_once_are_refused(cli: CommandLine, arguments: list[object]) -> None:
    done = cli("status", *arguments, "--json", "--watch")
    assert (done.returncode, done.stderr) == (2, "error: --watch and --json: one of the two\n")


def test_the_last_line_says_where_the_page_is_unless_it_is_to_be_quiet(
    cli: CommandLine, tmp_path: Path, arguments: list[object], plan: list[RunSpec]
) -> None:
    some = [*arguments, "--backend", "sequential", "--no-audit"]
    quiet = cli("run", *some, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    told = cli("run", *some)
    page = told.stderr.splitlines()[-1].removeprefix("page: ")
    assert (tmp_path / page).is_file()
    wrong = cli("run", *some, "--quiet", "--set", "optimizer.learning_rate=1e9", "--set", "optimizer.clip_norm=null")
    assert wrong.returncode == 1
    assert wrong.stderr == "error: some runs are not done; --retry-failed trains failed ones again\n"
