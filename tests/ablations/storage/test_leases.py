"""Leases: one owner a run, the dead make room at once, the silent after a while, and nobody writes another's run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from ablations.storage import leases as module
from ablations.storage.leases import Lease, LeaseLostError, Leases
from ablations.storage.store import StoreError
from awd.files import write_text
from tests.ablations.conftest import ROOT, environment

Script = Callable[..., "subprocess.Popen[str]"]

BEFORE = """
import sys
from pathlib import Path
from ablations.storage.leases import Leases
from ablations.storage.store import StoreError
"""
LEASES: list[Lease] = []
TAKE_AND_STAY = """
lease = Leases(Path(sys.argv[1])).take("a")
print(lease.owner, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def script() -> Iterator[Script]:
    """Start a script in a process of its own; killed at the end if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", BEFORE + text, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(PYTHONPATH=str(ROOT)),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path)


@pytest.fixture(autouse=True)
def _none_left_beating() -> Iterator[None]:
    yield
    while LEASES:
        LEASES.pop().release()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)


def taken(leases: Leases, run_id: str = "a") -> Lease:
    lease = leases.take(run_id)
    assert lease is not None
    LEASES.append(lease)
    return lease


def path(leases: Leases, run_id: str = "a") -> Path:
    return leases.folder / f"{run_id}.json"


def edit(leases: Leases, **fields: object) -> None:
    """Change a lease in one go, since its owner may be looking."""
    write_text(path(leases), json.dumps({**json.loads(path(leases).read_text(encoding="utf-8")), **fields}))


def age(leases: Leases, seconds: float) -> None:
    """Set the last beat back from now, as the file system dates it."""
    path(leases).touch()
    then = path(leases).stat().st_mtime - seconds
    os.utime(path(leases), (then, then))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never came to be")


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def left(leases: Leases) -> set[str]:
    return {entry.name for entry in leases.folder.iterdir()}


def test_a_run_has_one_owner_until_it_is_released(leases: Leases) -> None:
    with taken(leases) as lease, taken(leases, "b.c") as other:
        assert leases.take("a") is None
        assert leases.holder("a") == lease.owner
        assert leases.live() == {"a": lease.owner, "b.c": other.owner}
        assert str(lease.owner).startswith(f"process {os.getpid()} on ")
        assert (lease.run_id, other.run_id) == ("a", "b.c")
        assert not lease.lost
    assert leases.holder("a") is None
    assert leases.live() == {}
    taken(leases).release()
    assert left(leases) == {"lock"}


def test_an_error_in_the_block_releases_too(leases: Leases) -> None:
    def train() -> None:
        with taken(leases):
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()
    assert left(leases) == {"lock"}


def test_racing_processes_take_each_run_once(tmp_path: Path, script: Script) -> None:
    race = """
import random
leases, run_ids = Leases(Path(sys.argv[1])), [f"run{number}" for number in range(50)]
random.shuffle(run_ids)
print("ready", flush=True)
sys.stdin.readline()
taken = [lease for lease in map(leases.take, run_ids) if lease]
print(*(lease.run_id for lease in taken), flush=True)
sys.stdin.readline()
for lease in taken:
    with lease.guard():
        assert not lease.lost
    lease.release()
"""
    racers = [script(race, tmp_path) for _ in range(4)]
    assert [said(racer) for racer in racers] == ["ready"] * 4
    for racer in racers:
        say(racer)
    won = [said(racer).split() for racer in racers]
    assert sorted(chain.from_iterable(won)) == sorted(f"run{number}" for number in range(50))
    assert len(Leases(tmp_path).live()) == 50
    for racer in racers:
        say(racer)
    assert [racer.wait(60) for racer in racers] == [0] * 4
    assert left(Leases(tmp_path)) == {"lock"}


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_process_makes_room_at_once(leases: Leases, script: Script, reaped: bool) -> None:
    owner = script(TAKE_AND_STAY, leases.folder.parent)
    assert said(owner) == str(leases.holder("a"))
    assert leases.take("a") is None
    owner.kill()
    if reaped:
        owner.wait()
    else:
        wait_until(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_ZOMBIE)
    assert leases.holder("a") is None
    assert leases.live() == {}
    with taken(leases) as lease:
        assert leases.holder("a") == lease.owner


def test_a_stopped_process_keeps_its_claim_however_silent(leases: Leases, script: Script) -> None:
    owner = script(TAKE_AND_STAY, leases.folder.parent)
    said(owner)
    owner.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED)
    age(leases, 86400)
    assert leases.take("a") is None
    holder = leases.holder("a")
    assert holder is not None
    assert holder.pid == owner.pid


@pytest.mark.parametrize("seconds", [-0.02, 3.0])
def test_a_process_number_given_again_is_not_the_owner(leases: Leases, seconds: float) -> None:
    lease = taken(leases)
    edit(leases, started=lease.owner.started + seconds)
    assert leases.holder("a") is None
    taken(leases).release()


def test_setting_the_clock_of_the_machine_makes_nobody_dead(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not psutil.LINUX:
        pytest.skip("processes are dated from boot on Linux only")
    processes = tmp_path / "proc"
    processes.mkdir()
    (processes / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    began = round(psutil.boot_time())
    stat = Path("/proc/stat").read_text(encoding="ascii")
    with taken(leases) as lease:
        (processes / "stat").write_text(stat.replace(f"btime {began}", f"btime {began + 3600}"), encoding="ascii")
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(processes))
        assert psutil.boot_time() == began + 3600
        assert leases.holder("a") == lease.owner


@pytest.mark.parametrize(("silent", "held"), [(-30, True), (0, True), (50, True), (61, False)])
def test_another_machine_owns_a_run_until_it_is_silent(leases: Leases, silent: float, held: bool) -> None:
    own = taken(leases)
    edit(leases, where="elsewhere/boot/pid:[1]", host="elsewhere")
    age(leases, silent)
    holder, live = leases.holder("a"), leases.live()
    assert (holder is not None) == ("a" in live) == held
    assert str(holder) == (f"process {os.getpid()} on elsewhere" if held else "None")
    if held:
        assert leases.take("a") is None
    else:
        assert taken(leases).owner != own.owner


@pytest.mark.parametrize("wrong", [-7200, 7200])
def test_a_wrong_clock_on_this_machine_changes_nothing(
    leases: Leases, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong)
    taken(leases)
    edit(leases, where="elsewhere")
    age(leases, 50)
    assert leases.take("a") is None
    age(leases, 61)
    assert leases.holder("a") is None
    taken(leases).release()


def test_who_was_taken_over_notices_and_leaves_the_claim_alone(leases: Leases, quick: None) -> None:
    old = taken(leases)
    edit(leases, started=0.0)
    new = taken(leases)
    wait_until(lambda: old.lost)
    taken_over = f"run a: its lease was taken over by process {os.getpid()} on "
    with pytest.raises(LeaseLostError, match=taken_over), old.guard():
        pytest.fail("the run is another's")
    old.release()
    assert leases.holder("a") == new.owner
    assert not new.lost
    with new.guard():
        pass
    new.release()
    assert left(leases) == {"lock"}


def test_a_guard_notices_before_the_next_beat(leases: Leases) -> None:
    old = taken(leases)
    edit(leases, started=0.0)
    with taken(leases):
        assert not old.lost
        with pytest.raises(LeaseLostError), old.guard():
            pytest.fail("the run is another's")
        assert old.lost


def test_a_machine_that_slept_wakes_to_a_lost_claim(leases: Leases, script: Script) -> None:
    wake = """
import time
from ablations.storage import leases as module
from ablations.storage.leases import LeaseLostError
module.BEAT_SECONDS = 0.05
lease = Leases(Path(sys.argv[1])).take("a")
print(lease.owner, flush=True)
for _ in range(1000):
    if lease.lost:
        break
    time.sleep(0.01)
print(lease.lost, flush=True)
try:
    with lease.guard():
        print("written")
except LeaseLostError as error:
    print(error)
lease.release()
"""
    sleeper = script(wake, leases.folder.parent)
    said(sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED)
    edit(leases, where="elsewhere")
    age(leases, 61)
    with taken(leases) as lease:
        sleeper.send_signal(signal.SIGCONT)
        lost = f"run a: its lease was taken over by {lease.owner}, after this process had been silent too long"
        assert [said(sleeper), said(sleeper)] == ["True", lost]
        assert sleeper.wait(60) == 0
        assert leases.holder("a") == lease.owner


def test_a_claim_whose_file_was_deleted_is_lost(leases: Leases, quick: None) -> None:
    lease = taken(leases)
    path(leases).unlink()
    wait_until(lambda: lease.lost)
    with pytest.raises(LeaseLostError, match=rf"run a: its lease, {path(leases)}, is gone"), lease.guard():
        pytest.fail("another may have trained the run")
    lease.release()
    taken(leases).release()


def test_beats_move_the_time_of_the_file_and_nothing_else(leases: Leases, quick: None) -> None:
    with taken(leases) as lease:
        content = path(leases).read_bytes()
        for _ in range(2):
            os.utime(path(leases), (1.0, 1.0))
            wait_until(lambda: time.time() - path(leases).stat().st_mtime < 60)
        assert path(leases).read_bytes() == content
        assert not lease.lost
        assert left(leases) == {"lock", "a.json"}


def test_beats_end_with_the_claim_which_is_then_not_lost(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    def beating() -> bool:
        return any(thread.name == "lease on one-to-end" for thread in threading.enumerate())

    # without a pause, so that a beat is likely to find the file just removed
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    for _ in range(30):
        lease = taken(leases, "one-to-end")
        assert beating()
        lease.release()
        wait_until(lambda: not beating())
        assert not lease.lost


def test_a_file_server_that_is_away_for_a_while_loses_no_claim(tmp_path: Path, quick: None) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "broken").write_text("no folder")
    results, switch = tmp_path / "results", tmp_path / "switch"

    def point_to(name: str) -> None:
        switch.symlink_to(tmp_path / name)
        switch.replace(results)

    point_to("real")
    leases = Leases(results)
    lease = taken(leases)
    point_to("broken")
    time.sleep(0.2)
    assert leases.holder("a") is None
    assert leases.live() == {}
    with pytest.raises(StoreError, match="Not a directory"), lease.guard():
        pytest.fail("nobody knows whose the run is")
    assert not lease.lost
    point_to("real")
    os.utime(path(leases), (1.0, 1.0))
    wait_until(lambda: path(leases).stat().st_mtime > 1.0)
    with lease.guard():
        pass
    lease.release()
    assert left(leases) == {"lock"}


def test_release_may_be_repeated_and_needs_no_file(leases: Leases, tmp_path: Path) -> None:
    lease = taken(leases)
    lease.release()
    lease.release()
    with pytest.raises(LeaseLostError), lease.guard():
        pytest.fail("it was given back")
    lease = taken(leases)
    leases.folder.rename(tmp_path / "away")
    lease.release()
    assert not leases.folder.exists()


def test_nothing_is_claimed_where_there_is_no_folder(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "results")
    assert leases.holder("a") is None
    assert leases.live() == {}
    assert not (tmp_path / "results").exists()


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"\x00" * 180,
    b"\xff\xfe",
    b'{"where": "here"}',
    b'{"where": "h", "host": "h", "pid": "1", "started": 1.0, "token": "t"}',
    b'{"where": "h", "host": "h", "pid": -1, "started": 1.0, "token": "t"}',
    b'{"where": "h", "host": "h", "pid": 1, "started": NaN, "token": "t"}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_claim_holds_until_it_is_silent(leases: Leases, content: bytes) -> None:
    leases.folder.mkdir()
    path(leases).write_bytes(content)
    assert leases.take("a") is None
    assert str(leases.holder("a")) == "an unknown process"
    assert list(leases.live()) == ["a"]
    age(leases, 61)
    assert leases.holder("a") is None
    with taken(leases) as lease:
        assert leases.live() == {"a": lease.owner}


def test_claims_of_a_later_version_are_read(leases: Leases) -> None:
    with taken(leases) as lease:
        edit(leases, purpose="unknown to us")
        assert leases.holder("a") == lease.owner


def test_a_process_number_beyond_any_is_dead(leases: Leases) -> None:
    taken(leases)
    edit(leases, pid=10**30)
    taken(leases).release()


def test_what_a_killed_process_left_half_written_is_removed(leases: Leases) -> None:
    leases.folder.mkdir()
    (leases.folder / ".a.json.0123456789ab.tmp").write_text("{")
    assert leases.live() == {}
    taken(leases).release()
    assert left(leases) == {"lock"}


def test_a_folder_that_is_only_read_shows_who_holds_what(leases: Leases, tmp_path: Path, script: Script) -> None:
    look = """
import os
leases = Leases(Path("results"))
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
for run_id in "abc":
    print(leases.holder(run_id))
print(*leases.live())
try:
    leases.take("d")
except StoreError as error:
    print(error)
"""
    leases = Leases(tmp_path / "results")
    elsewhere = "process 7 on elsewhere"
    for silent, run_id in enumerate("ab"):
        leases.folder.mkdir(parents=True, exist_ok=True)
        owner = {"where": "elsewhere", "host": "elsewhere", "pid": 7, "started": 1.0, "token": run_id}
        path(leases, run_id).write_text(json.dumps(owner))
        then = time.time() - 61 * silent
        os.utime(path(leases, run_id), (then, then))
    with taken(leases, "c") as lease:
        before = left(leases)
        leases.folder.chmod(0o555)
        (leases.folder / "lock").chmod(0o444)
        # entered as root, whose temporary folders nobody else may enter
        tmp_path.chmod(0o755)
        printed, _ = script(f"import os\nos.chdir({str(tmp_path)!r})" + look).communicate(timeout=60)
        assert left(leases) == before
        leases.folder.chmod(0o755)
    refused = "results/claims: runs cannot be leased there (Permission denied)"
    assert printed.splitlines() == [elsewhere, "None", str(lease.owner), "a c", refused]


def test_a_full_disk_is_said_and_leaves_nothing(leases: Leases, script: Script) -> None:
    fill = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    Leases(Path(sys.argv[1])).take("a")
except StoreError as error:
    print(error)
"""
    printed, _ = script(fill, leases.folder.parent).communicate(timeout=60)
    assert printed == f"{path(leases)}: the run cannot be leased (File too large)\n"
    assert left(leases) == {"lock"}


def test_a_folder_that_cannot_be_made_is_said(leases: Leases) -> None:
    leases.folder.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=rf"^{leases.folder}: runs cannot be leased there \("):
        leases.take("a")
    assert leases.holder("a") is None
    assert leases.live() == {}


def test_a_lock_that_is_not_to_be_had_is_said(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = taken(leases)
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    other = FileLock(leases.folder / "lock", thread_local=False)
    holding = threading.Thread(target=other.acquire)
    holding.start()
    holding.join()
    with pytest.raises(StoreError, match=rf"^{leases.folder / 'lock'}: another process has held this lock for 0.1 s"):
        leases.take("b")
    with pytest.raises(StoreError), lease.guard():
        pytest.fail("there is no lock")
    assert leases.holder("a") == lease.owner
    lease.release()
    other.release()
    assert left(leases) == {"lock", "a.json"}


def test_nobody_takes_over_what_is_being_stored(leases: Leases) -> None:
    lease, new = taken(leases), []
    taker = threading.Thread(target=lambda: new.append(taken(leases)))
    with lease.guard():
        edit(leases, where="elsewhere")
        age(leases, 61)
        taker.start()
        taker.join(0.3)
        assert taker.is_alive()
        assert json.loads(path(leases).read_text())["token"] == lease.owner.token
    taker.join()
    assert new[0].owner == leases.holder("a")


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize(
    "refusal", [OSError(errno.ENOSYS, "no"), OSError(errno.EOPNOTSUPP, "no"), NotImplementedError()]
)
def test_a_file_system_without_flock_is_locked_by_a_file(
    leases: Leases, refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise refusal

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    lease, refused = taken(leases), []

    def take_another() -> None:
        try:
            leases.take("b")
        except StoreError as error:
            refused.append(str(error))

    with lease.guard():
        other = threading.Thread(target=take_another)
        other.start()
        other.join()
    assert "another process has held this lock for 0.1 s" in refused[0]
    assert leases.take("a") is None
    lease.release()
    assert left(leases) <= {"lock"}
