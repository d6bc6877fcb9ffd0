"""Durations, intervals, and an invocation that is asked to stop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from ablations.stopping import Invocation, parse_duration, parse_interval
from awd.checkpoint import Interval
from awd.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("1.5h", 5400), ("2d", 172_800), (" 1s ", 1)]
)
def test_a_time_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, "--time-limit") == seconds


@pytest.mark.parametrize("text", ["", "25", "m", "0m", "-1m", "1e3s", "25 m", "1h30m", "25M", "nan s"])
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--time-limit '.*': expected a time such as 90s, 25m"):
        parse_duration(text, "--time-limit")


def test_an_interval_is_epochs_or_a_time_or_left_open() -> None:
    assert parse_interval("auto") == Interval()
    assert parse_interval("5") == Interval(epochs=5)
    assert parse_interval("10m") == Interval(seconds=600)
    for wrong in ("0", "-1", "1.5", "often", ""):
        with pytest.raises(InputError, match="--checkpoint-every"):
            parse_interval(wrong)


def test_it_lasts_as_long_as_its_file(tmp_path: Path) -> None:
    invocation = Invocation(tmp_path, lambda line: None)
    with invocation.running(None):
        assert invocation.path.exists()
        assert not invocation.stopped
        invocation.path.unlink()  # by hand
        assert invocation.stopped
        assert "was deleted" in str(invocation.reason)
    assert not invocation.path.exists()


def test_a_time_limit_asks_to_stop(tmp_path: Path) -> None:
    said: list[str] = []
    invocation = Invocation(tmp_path, said.append)
    with invocation.running(0.05):
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert invocation.stopped
        assert invocation.reason == "time limit of 0.05 s"
    assert said == ["time limit of 0.05 s: the runs save themselves and stop; they go on when called again"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_first_signal_asks_and_the_second_insists(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    invocation = Invocation(tmp_path, lambda line: None)
    with invocation.running(None):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert invocation.reason == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(invocation.folder.iterdir())


def test_a_time_limit_does_not_make_the_first_ctrl_c_the_second(tmp_path: Path) -> None:
    invocation = Invocation(tmp_path, lambda line: None)
    with invocation.running(None):
        invocation.stop("time limit")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert invocation.reason == "Ctrl-C"


def test_files_of_the_dead_are_cleared_away(tmp_path: Path) -> None:
    dead, foreign = Invocation(tmp_path, lambda line: None), tmp_path / "invocations" / "elsewhere-1-0123456789ab"
    name = dead.path.name.replace(f"-{os.getpid()}-", "-4194305-")  # above the largest process number of Linux
    foreign.parent.mkdir()
    for path in (foreign, foreign.with_name(name)):
        path.touch()
    with dead.running(None):
        assert sorted(path.name for path in foreign.parent.iterdir()) == sorted([foreign.name, dead.path.name])
