"""An invocation that is asked to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ablations.storage.invocation import Invocation


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


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_in_the_middle_of_a_line_asks_all_the_same(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    over = threading.Event()

    def press_and_read() -> None:
        time.sleep(0.2)  # the pipe is full by now, and the line is being written
        os.kill(os.getpid(), signal.SIGINT)
        while not over.wait(0.05):
            with suppress(BlockingIOError):
                os.read(reader, 1 << 20)

    pressing = threading.Thread(target=press_and_read)
    with os.fdopen(writer, "wb") as terminal:

        def say(line: str) -> None:
            terminal.write(line.encode())
            terminal.flush()

        invocation = Invocation(tmp_path, say)
        with invocation.running(None):
            pressing.start()
            say("." * (1 << 20))
            assert invocation.reason == "Ctrl-C"
        over.set()
        pressing.join()
    os.close(reader)


def test_a_time_limit_does_not_make_the_first_ctrl_c_the_second(tmp_path: Path) -> None:
    invocation = Invocation(tmp_path, lambda line: None)
    with invocation.running(None):
        invocation.stop("time limit")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert invocation.reason == "Ctrl-C"


def test_files_of_the_dead_are_cleared_away(tmp_path: Path) -> None:
    living, folder = Invocation(tmp_path, lambda line: None), tmp_path / "invocations"
    with living.running(None):
        content = living.path.read_text(encoding="utf-8")
    name = living.path.name.replace(f"-{os.getpid()}-", "-4194305-")  # above the largest process number of Linux
    dead, elsewhere, container = (
        folder / name,
        folder / "elsewhere-1-0123456789ab",
        folder / f"{name[:-12]}0123456789ab",
    )
    dead.write_text(content, encoding="utf-8")
    elsewhere.write_text(content, encoding="utf-8")
    # of the same name as this machine, but with process numbers of its own
    container.write_text(content.replace("pid:[", "pid:[1") if psutil.LINUX else "", encoding="utf-8")
    with living.running(None):
        assert set(folder.iterdir()) == {elsewhere, container, living.path}
