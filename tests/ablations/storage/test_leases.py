"""Claims: one owner a run, the dead make room at once, the silent after a while, and nobody writes another's run."""

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
from ablations.storage.leases import Claim, ClaimLostError, Claims
from ablations.storage.store import StoreError
from awd.files import write_text
from tests.ablations.conftest import ROOT, environment

Script = Callable[..., "subprocess.Popen[str]"]

BEFORE = """
import sys
from pathlib import Path
from ablations.storage.leases import Claims
from ablations.storage.store import StoreError
"""
CLAIMS: list[Claim] = []
TAKE_AND_STAY = """
claim = Claims(Path(sys.argv[1])).take("a")
print(claim.owner, flush=True)
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
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path)


@pytest.fixture(autouse=True)
def _none_left_beating() -> Iterator[None]:
    yield
    while CLAIMS:
        CLAIMS.pop().release()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)


def taken(claims: Claims, run_id: str = "a") -> Claim:
    claim = claims.take(run_id)
    assert claim is not None
    CLAIMS.append(claim)
    return claim


def path(claims: Claims, run_id: str = "a") -> Path:
    return claims.folder / f"{run_id}.json"


def edit(claims: Claims, **fields: object) -> None:
    """Change a claim in one go, since its owner may be looking."""
    write_text(path(claims), json.dumps({**json.loads(path(claims).read_text(encoding="utf-8")), **fields}))


def age(claims: Claims, seconds: float) -> None:
    """Set the last beat back from now, as the file system dates it."""
    path(claims).touch()
    then = path(claims).stat().st_mtime - seconds
    os.utime(path(claims), (then, then))


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


def left(claims: Claims) -> set[str]:
    return {entry.name for entry in claims.folder.iterdir()}


def test_a_run_has_one_owner_until_it_is_released(claims: Claims) -> None:
    with taken(claims) as claim, taken(claims, "b.c") as other:
        assert claims.take("a") is None
        assert claims.holder("a") == claim.owner
        assert claims.live() == {"a": claim.owner, "b.c": other.owner}
        assert str(claim.owner).startswith(f"process {os.getpid()} on ")
        assert (claim.run_id, other.run_id) == ("a", "b.c")
        assert not claim.lost
    assert claims.holder("a") is None
    assert claims.live() == {}
    taken(claims).release()
    assert left(claims) == {"lock"}


def test_an_error_in_the_block_releases_too(claims: Claims) -> None:
    def train() -> None:
        with taken(claims):
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()
    assert left(claims) == {"lock"}


def test_racing_processes_take_each_run_once(tmp_path: Path, script: Script) -> None:
    race = """
import random
claims, run_ids = Claims(Path(sys.argv[1])), [f"run{number}" for number in range(50)]
random.shuffle(run_ids)
print("ready", flush=True)
sys.stdin.readline()
taken = [claim for claim in map(claims.take, run_ids) if claim]
print(*(claim.run_id for claim in taken), flush=True)
sys.stdin.readline()
for claim in taken:
    with claim.guard():
        assert not claim.lost
    claim.release()
"""
    racers = [script(race, tmp_path) for _ in range(4)]
    assert [said(racer) for racer in racers] == ["ready"] * 4
    for racer in racers:
        say(racer)
    won = [said(racer).split() for racer in racers]
    assert sorted(chain.from_iterable(won)) == sorted(f"run{number}" for number in range(50))
    assert len(Claims(tmp_path).live()) == 50
    for racer in racers:
        say(racer)
    assert [racer.wait(60) for racer in racers] == [0] * 4
    assert left(Claims(tmp_path)) == {"lock"}


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_process_makes_room_at_once(claims: Claims, script: Script, reaped: bool) -> None:
    owner = script(TAKE_AND_STAY, claims.folder.parent)
    assert said(owner) == str(claims.holder("a"))
    assert claims.take("a") is None
    owner.kill()
    if reaped:
        owner.wait()
    else:
        wait_until(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_ZOMBIE)
    assert claims.holder("a") is None
    assert claims.live() == {}
    with taken(claims) as claim:
        assert claims.holder("a") == claim.owner


def test_a_stopped_process_keeps_its_claim_however_silent(claims: Claims, script: Script) -> None:
    owner = script(TAKE_AND_STAY, claims.folder.parent)
    said(owner)
    owner.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED)
    age(claims, 86400)
    assert claims.take("a") is None
    holder = claims.holder("a")
    assert holder is not None
    assert holder.pid == owner.pid


@pytest.mark.parametrize("seconds", [-0.02, 3.0])
def test_a_process_number_given_again_is_not_the_owner(claims: Claims, seconds: float) -> None:
    claim = taken(claims)
    edit(claims, started=claim.owner.started + seconds)
    assert claims.holder("a") is None
    taken(claims).release()


def test_setting_the_clock_of_the_machine_makes_nobody_dead(
    claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not psutil.LINUX:
        pytest.skip("processes are dated from boot on Linux only")
    processes = tmp_path / "proc"
    processes.mkdir()
    (processes / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    began = round(psutil.boot_time())
    stat = Path("/proc/stat").read_text(encoding="ascii")
    with taken(claims) as claim:
        (processes / "stat").write_text(stat.replace(f"btime {began}", f"btime {began + 3600}"), encoding="ascii")
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(processes))
        assert psutil.boot_time() == began + 3600
        assert claims.holder("a") == claim.owner


@pytest.mark.parametrize(("silent", "held"), [(-30, True), (0, True), (50, True), (61, False)])
def test_another_machine_owns_a_run_until_it_is_silent(claims: Claims, silent: float, held: bool) -> None:
    own = taken(claims)
    edit(claims, where="elsewhere/boot/pid:[1]", host="elsewhere")
    age(claims, silent)
    holder, live = claims.holder("a"), claims.live()
    assert (holder is not None) == ("a" in live) == held
    assert str(holder) == (f"process {os.getpid()} on elsewhere" if held else "None")
    if held:
        assert claims.take("a") is None
    else:
        assert taken(claims).owner != own.owner


@pytest.mark.parametrize("wrong", [-7200, 7200])
def test_a_wrong_clock_on_this_machine_changes_nothing(
    claims: Claims, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong)
    taken(claims)
    edit(claims, where="elsewhere")
    age(claims, 50)
    assert claims.take("a") is None
    age(claims, 61)
    assert claims.holder("a") is None
    taken(claims).release()


def test_who_was_taken_over_notices_and_leaves_the_claim_alone(claims: Claims, quick: None) -> None:
    old = taken(claims)
    edit(claims, started=0.0)
    new = taken(claims)
    wait_until(lambda: old.lost)
    taken_over = f"run a: its claim was taken over by process {os.getpid()} on "
    with pytest.raises(ClaimLostError, match=taken_over), old.guard():
        pytest.fail("the run is another's")
    old.release()
    assert claims.holder("a") == new.owner
    assert not new.lost
    with new.guard():
        pass
    new.release()
    assert left(claims) == {"lock"}


def test_a_guard_notices_before_the_next_beat(claims: Claims) -> None:
    old = taken(claims)
    edit(claims, started=0.0)
    with taken(claims):
        assert not old.lost
        with pytest.raises(ClaimLostError), old.guard():
            pytest.fail("the run is another's")
        assert old.lost


def test_a_machine_that_slept_wakes_to_a_lost_claim(claims: Claims, script: Script) -> None:
    wake = """
import time
from ablations.storage import leases as module
from ablations.storage.leases import ClaimLostError
module.BEAT_SECONDS = 0.05
claim = Claims(Path(sys.argv[1])).take("a")
print(claim.owner, flush=True)
for _ in range(1000):
    if claim.lost:
        break
    time.sleep(0.01)
print(claim.lost, flush=True)
try:
    with claim.guard():
        print("written")
except ClaimLostError as error:
    print(error)
claim.release()
"""
    sleeper = script(wake, claims.folder.parent)
    said(sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED)
    edit(claims, where="elsewhere")
    age(claims, 61)
    with taken(claims) as claim:
        sleeper.send_signal(signal.SIGCONT)
        lost = f"run a: its claim was taken over by {claim.owner}, after this process had been silent too long"
        assert [said(sleeper), said(sleeper)] == ["True", lost]
        assert sleeper.wait(60) == 0
        assert claims.holder("a") == claim.owner


def test_a_claim_whose_file_was_deleted_is_lost(claims: Claims, quick: None) -> None:
    claim = taken(claims)
    path(claims).unlink()
    wait_until(lambda: claim.lost)
    with pytest.raises(ClaimLostError, match=rf"run a: its claim, {path(claims)}, is gone"), claim.guard():
        pytest.fail("another may have trained the run")
    claim.release()
    taken(claims).release()


def test_beats_move_the_time_of_the_file_and_nothing_else(claims: Claims, quick: None) -> None:
    with taken(claims) as claim:
        content = path(claims).read_bytes()
        for _ in range(2):
            os.utime(path(claims), (1.0, 1.0))
            wait_until(lambda: time.time() - path(claims).stat().st_mtime < 60)
        assert path(claims).read_bytes() == content
        assert not claim.lost
        assert left(claims) == {"lock", "a.json"}


def test_beats_end_with_the_claim_which_is_then_not_lost(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    def beating() -> bool:
        return any(thread.name == "claim on one-to-end" for thread in threading.enumerate())

    # without a pause, so that a beat is likely to find the file just removed
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    for _ in range(30):
        claim = taken(claims, "one-to-end")
        assert beating()
        claim.release()
        wait_until(lambda: not beating())
        assert not claim.lost


def test_a_file_server_that_is_away_for_a_while_loses_no_claim(tmp_path: Path, quick: None) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "broken").write_text("no folder")
    results, switch = tmp_path / "results", tmp_path / "switch"

    def point_to(name: str) -> None:
        switch.symlink_to(tmp_path / name)
        switch.replace(results)

    point_to("real")
    claims = Claims(results)
    claim = taken(claims)
    point_to("broken")
    time.sleep(0.2)
    assert claims.holder("a") is None
    assert claims.live() == {}
    with pytest.raises(StoreError, match="Not a directory"), claim.guard():
        pytest.fail("nobody knows whose the run is")
    assert not claim.lost
    point_to("real")
    os.utime(path(claims), (1.0, 1.0))
    wait_until(lambda: path(claims).stat().st_mtime > 1.0)
    with claim.guard():
        pass
    claim.release()
    assert left(claims) == {"lock"}


def test_release_may_be_repeated_and_needs_no_file(claims: Claims, tmp_path: Path) -> None:
    claim = taken(claims)
    claim.release()
    claim.release()
    with pytest.raises(ClaimLostError), claim.guard():
        pytest.fail("it was given back")
    claim = taken(claims)
    claims.folder.rename(tmp_path / "away")
    claim.release()
    assert not claims.folder.exists()


def test_nothing_is_claimed_where_there_is_no_folder(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "results")
    assert claims.holder("a") is None
    assert claims.live() == {}
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
def test_a_damaged_claim_holds_until_it_is_silent(claims: Claims, content: bytes) -> None:
    claims.folder.mkdir()
    path(claims).write_bytes(content)
    assert claims.take("a") is None
    assert str(claims.holder("a")) == "an unknown process"
    assert list(claims.live()) == ["a"]
    age(claims, 61)
    assert claims.holder("a") is None
    with taken(claims) as claim:
        assert claims.live() == {"a": claim.owner}


def test_claims_of_a_later_version_are_read(claims: Claims) -> None:
    with taken(claims) as claim:
        edit(claims, purpose="unknown to us")
        assert claims.holder("a") == claim.owner


def test_a_process_number_beyond_any_is_dead(claims: Claims) -> None:
    taken(claims)
    edit(claims, pid=10**30)
    taken(claims).release()


def test_what_a_killed_process_left_half_written_is_removed(claims: Claims) -> None:
    claims.folder.mkdir()
    (claims.folder / ".a.json.0123456789ab.tmp").write_text("{")
    assert claims.live() == {}
    taken(claims).release()
    assert left(claims) == {"lock"}


def test_a_folder_that_is_only_read_shows_who_holds_what(claims: Claims, tmp_path: Path, script: Script) -> None:
    look = """
import os
claims = Claims(Path("results"))
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
for run_id in "abc":
    print(claims.holder(run_id))
print(*claims.live())
try:
    claims.take("d")
except StoreError as error:
    print(error)
"""
    claims = Claims(tmp_path / "results")
    elsewhere = "process 7 on elsewhere"
    for silent, run_id in enumerate("ab"):
        claims.folder.mkdir(parents=True, exist_ok=True)
        owner = {"where": "elsewhere", "host": "elsewhere", "pid": 7, "started": 1.0, "token": run_id}
        path(claims, run_id).write_text(json.dumps(owner))
        then = time.time() - 61 * silent
        os.utime(path(claims, run_id), (then, then))
    with taken(claims, "c") as claim:
        before = left(claims)
        claims.folder.chmod(0o555)
        (claims.folder / "lock").chmod(0o444)
        # entered as root, whose temporary folders nobody else may enter
        tmp_path.chmod(0o755)
        printed, _ = script(f"import os\nos.chdir({str(tmp_path)!r})" + look).communicate(timeout=60)
        assert left(claims) == before
        claims.folder.chmod(0o755)
    refused = "results/claims: runs cannot be claimed there (Permission denied)"
    assert printed.splitlines() == [elsewhere, "None", str(claim.owner), "a c", refused]


def test_a_full_disk_is_said_and_leaves_nothing(claims: Claims, script: Script) -> None:
    fill = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    Claims(Path(sys.argv[1])).take("a")
except StoreError as error:
    print(error)
"""
    printed, _ = script(fill, claims.folder.parent).communicate(timeout=60)
    assert printed == f"{path(claims)}: the run cannot be claimed (File too large)\n"
    assert left(claims) == {"lock"}


def test_a_folder_that_cannot_be_made_is_said(claims: Claims) -> None:
    claims.folder.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=rf"^{claims.folder}: runs cannot be claimed there \("):
        claims.take("a")
    assert claims.holder("a") is None
    assert claims.live() == {}


def test_a_lock_that_is_not_to_be_had_is_said(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = taken(claims)
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    other = FileLock(claims.folder / "lock", thread_local=False)
    holding = threading.Thread(target=other.acquire)
    holding.start()
    holding.join()
    with pytest.raises(StoreError, match=rf"^{claims.folder / 'lock'}: another process has held this lock for 0.1 s"):
        claims.take("b")
    with pytest.raises(StoreError), claim.guard():
        pytest.fail("there is no lock")
    assert claims.holder("a") == claim.owner
    claim.release()
    other.release()
    assert left(claims) == {"lock", "a.json"}


def test_nobody_takes_over_what_is_being_stored(claims: Claims) -> None:
    claim, new = taken(claims), []
    taker = threading.Thread(target=lambda: new.append(taken(claims)))
    with claim.guard():
        edit(claims, where="elsewhere")
        age(claims, 61)
        taker.start()
        taker.join(0.3)
        assert taker.is_alive()
        assert json.loads(path(claims).read_text())["token"] == claim.owner.token
    taker.join()
    assert new[0].owner == claims.holder("a")


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize(
    "refusal", [OSError(errno.ENOSYS, "no"), OSError(errno.EOPNOTSUPP, "no"), NotImplementedError()]
)
def test_a_file_system_without_flock_is_locked_by_a_file(
    claims: Claims, refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise refusal

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    claim, refused = taken(claims), []

    def take_another() -> None:
        try:
            claims.take("b")
        except StoreError as error:
            refused.append(str(error))

    with claim.guard():
        other = threading.Thread(target=take_another)
        other.start()
        other.join()
    assert "another process has held this lock for 0.1 s" in refused[0]
    assert claims.take("a") is None
    claim.release()
    assert left(claims) <= {"lock"}
