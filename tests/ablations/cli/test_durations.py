"""Times and intervals, as one types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.cli.durations import parse_duration, parse_interval
from awd.checkpoint import Interval
from awd.errors import InputError
from tests.ablations.conftest import CommandLine


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("1.5h", 5400), ("2d", 172_800), (" 1s ", 1)]
)
def test_a_time_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, "--time-limit") == seconds


@pytest.mark.parametrize(
    "text", ["", "25", "m", "0m", "0.0s", "-1m", "1e3s", "25 m", "1h30m", "25M", "nan s", "inf d", "9" * 20 + "d"]
)
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--time-limit '.*': expected a time such as 90s, 25m"):
        parse_duration(text, "--time-limit")


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("auto", Interval()),
        ("5", Interval(epochs=5)),
        (" 1 ", Interval(epochs=1)),
        ("10m", Interval(seconds=600)),
        ("0.5s", Interval(seconds=0.5)),
    ],
)
def test_an_interval_is_epochs_or_a_time_or_left_open(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "often", "5 epochs", "0s", "-10m", "AUTO", "9" * 5000])
def test_any_other_interval_is_refused(text: str) -> None:
    expected = rf"--checkpoint-every '{text}': expected epochs such as 5, a time such as 10m, or auto"
    with pytest.raises(InputError, match=expected):
        parse_interval(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--checkpoint-every", "often"], "--checkpoint-every 'often': expected epochs"),
        (["--time-limit", "25"], "--time-limit '25': expected a time such as 90s"),
        (["--gpus", "0,x"], "--gpus '0,x': expected numbers of GPUs"),
        (["--scheduler", "tcp://127.0.0.1:8786"], "--scheduler and --gpus-per-run are for --backend dask"),
    ],
    ids=["checkpoint-every", "time-limit", "gpus", "scheduler"],
)
def test_wrong_options_end_in_one_line(
    cli: CommandLine, tmp_path: Path, profile: Path, corpus: Path, options: list[str], said: str
) -> None:
    done = cli("--all", "--profile", profile, "--dataset", corpus, *options)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {said}")
    assert not list(tmp_path.glob("results/*"))
