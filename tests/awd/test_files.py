"""Files are whole or as they were before, and a sealed one is the bytes that were written or is refused."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from io import FileIO
from pathlib import Path

import pytest

from awd.files import PLACEHOLDER, DamagedFileError, read_sealed, remove_leftovers, whole_file, write_sealed, write_text

ROOT = Path(__file__).resolve().parents[2]
MARK = PLACEHOLDER.rstrip("0")
CONTENT = f"some text, {PLACEHOLDER}, and more text".encode()
# what others write into a file may look like a seal
DECOYS = [MARK, PLACEHOLDER, PLACEHOLDER[:-1], f"{PLACEHOLDER} {MARK}", f"{MARK}{'a' * 64}"]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(script: str, *arguments: object) -> list[str]:
    process = start(script, *arguments)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return printed.splitlines()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_at(file: FileIO, place: int, value: int) -> None:
    file.seek(place)
    file.write(bytes([value]))


def test_a_seal_is_the_digest_of_the_file_with_zeros_in_its_place(tmp_path: Path) -> None:
    write_sealed(tmp_path / "new" / "file", CONTENT)
    seal = hashlib.sha256(CONTENT).hexdigest()
    expected = CONTENT.replace(b"0" * 64, seal.encode())
    assert read_sealed(tmp_path / "new" / "file") == expected == (tmp_path / "new" / "file").read_bytes()
    assert names(tmp_path / "new") == ["file"]


@pytest.mark.parametrize("before", [b"", b"\x00\xff" * 40])
@pytest.mark.parametrize("after", [b"", b"\xff\x00" * 40])
def test_a_seal_stands_anywhere(tmp_path: Path, before: bytes, after: bytes) -> None:
    write_sealed(tmp_path / "file", before + PLACEHOLDER.encode() + after)
    content = read_sealed(tmp_path / "file")
    assert content.startswith(before + MARK.encode())
    assert content.endswith(after)
    assert len(content) == len(before) + len(PLACEHOLDER) + len(after)


@pytest.mark.parametrize("decoy", DECOYS)
def test_text_before_it_that_looks_like_a_seal_is_left_as_it_is(tmp_path: Path, decoy: str) -> None:
    path = tmp_path / "file"
    write_sealed(path, decoy.encode() + CONTENT)
    content = read_sealed(path)
    assert content[: len(decoy)] == decoy.encode()
    for position in range(len(decoy)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DamagedFileError):
            read_sealed(path)


@pytest.mark.parametrize("content", [b"", b"no seal", CONTENT[:-30].replace(b"0", b"1"), CONTENT + MARK.encode()])
def test_content_that_could_not_be_read_again_is_not_written(tmp_path: Path, content: bytes) -> None:
    write_sealed(tmp_path / "file", CONTENT)
    with pytest.raises(ValueError, match="file: the content has no placeholder"):
        write_sealed(tmp_path / "file", content)
    assert read_sealed(tmp_path / "file").startswith(b"some text")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("decoy", ["", PLACEHOLDER])
def test_every_changed_bit_is_noticed(tmp_path: Path, decoy: str) -> None:
    path = tmp_path / "file"
    write_sealed(path, decoy.encode() + CONTENT)
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for bit in range(8 * len(content)):
            place, value = bit // 8, content[bit // 8]
            write_at(file, place, value ^ 1 << bit % 8)
            with pytest.raises(DamagedFileError, match="file: damaged"):
                read_sealed(path)
            write_at(file, place, value)
    assert read_sealed(path) == content


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_sealed(path, CONTENT)
    content = path.read_bytes()
    for length in range(len(content)):
        for kept in (content[:length], content[len(content) - length :]):
            path.write_bytes(kept)
            with pytest.raises(DamagedFileError, match=f"file: damaged.* {length} bytes"):
                read_sealed(path)


def test_bytes_after_the_end_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_sealed(path, CONTENT)
    content = path.read_bytes()
    for more in (b"\x00", b"\n", CONTENT, content, MARK.encode(), bytes(4096)):
        path.write_bytes(content + more)
        with pytest.raises(DamagedFileError, match="file: damaged"):
            read_sealed(path)


@pytest.mark.parametrize("content", [b"", b"never sealed", CONTENT])
def test_what_was_never_sealed_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"file: damaged.* {len(content)} bytes"):
        read_sealed(tmp_path / "file")


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "file")


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old ü")

    def fail() -> None:
        with whole_file(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "file").read_bytes() == "old ü".encode()
    assert names(tmp_path) == ["file"]


def test_kill_9_in_the_middle_of_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from awd.files import whole_file
with whole_file(Path(sys.argv[1])) as temporary, temporary.open("wb") as file:
    file.write(b"half of it")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""
    path = tmp_path / "file"
    write_sealed(path, CONTENT)
    old = path.read_bytes()
    process = start(script, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert read_sealed(path) == old
    assert len(names(tmp_path)) == 2, "what the process had written so far"
    remove_leftovers(path)
    assert names(tmp_path) == ["file"]


def test_kill_9_at_any_moment_leaves_a_whole_file_and_so_do_two_writers(tmp_path: Path) -> None:
    script = f"""
import sys
from itertools import cycle
from pathlib import Path
from awd.files import PLACEHOLDER, write_sealed
for letter in cycle(b"abc"):
    write_sealed(Path(sys.argv[1]), bytes([letter]) * {2**21} + PLACEHOLDER.encode())
    print("written", flush=True)
"""
    path, draw = tmp_path / "file", random.Random(1)
    seen = set()
    for _ in range(3):
        writers = [start(script, path) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        end = time.monotonic() + draw.uniform(0, 0.2)
        while time.monotonic() < end:
            seen.add(read_sealed(path)[:-64])
        for writer in writers:
            writer.kill()
        for writer in writers:
            errors = writer.communicate()[1]
            assert writer.returncode == -signal.SIGKILL, errors
        seen.add(read_sealed(path)[:-64])
    assert seen <= {letter * 2**21 + MARK.encode() for letter in (b"a", b"b", b"c")}
    assert len(seen) > 1


def test_leftovers_of_this_file_alone_are_removed(tmp_path: Path) -> None:
    for name in ("a", "a.b", "[ab]"):
        (tmp_path / name).touch()
        (tmp_path / f".{name}.0123456789ab.tmp").touch()
    remove_leftovers(tmp_path / "a")
    assert not (tmp_path / ".a.0123456789ab.tmp").exists()
    assert len(names(tmp_path)) == 5
    remove_leftovers(tmp_path / "[ab]")
    assert names(tmp_path) == [".a.b.0123456789ab.tmp", "[ab]", "a", "a.b"]
    remove_leftovers(tmp_path / "no folder" / "a")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system limits no file sizes")
def test_a_disk_that_takes_a_part_only_leaves_what_was_there(tmp_path: Path) -> None:
    """The system lets a process write so many bytes of a file, and refuses the rest in the middle of a write."""
    script = """
import errno, resource, signal, sys
from pathlib import Path
from awd.files import PLACEHOLDER, write_sealed, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
for write, content in ((write_sealed, bytes(1000) + PLACEHOLDER.encode()), (write_text, "x" * 1000)):
    try:
        write(Path(sys.argv[1]), content)
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    write_sealed(tmp_path / "file", CONTENT)
    old = (tmp_path / "file").read_bytes()
    assert output(script, tmp_path / "file") == ["EFBIG", "EFBIG"]
    assert read_sealed(tmp_path / "file") == old
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    script = """
import errno, os, sys
from pathlib import Path
from awd.files import PLACEHOLDER, read_sealed, write_sealed
folder = Path(sys.argv[1])
path = folder / "file"
write_sealed(path, b"old" + PLACEHOLDER.encode())
try:
    write_sealed(path, bytes(100_000) + PLACEHOLDER.encode())
except OSError as error:
    print(errno.errorcode[error.errno])
print(read_sealed(path)[:3].decode(), os.listdir(folder))
write_sealed(path, b"new" + PLACEHOLDER.encode())
print(read_sealed(path)[:3].decode(), os.listdir(folder))
"""
    # in a namespace of its own, which ends with its process: nothing stays mounted
    small_disk = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=64k none "$0" &&'
    if (
        shutil.which("unshare") is None
        or subprocess.run([*small_disk, f"{mount} true", tmp_path], check=False).returncode
    ):
        pytest.skip("no small file system can be mounted here")
    done = subprocess.run(
        [*small_disk, f'{mount} exec "$1" -c "$2" "$0"', tmp_path, sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["ENOSPC", "old ['file']", "new ['file']"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_full_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")

    def write() -> None:
        with whole_file(tmp_path / "file") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("new")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="folders are guarded by other means here")
def test_a_folder_that_may_be_written_but_not_read_is_written(tmp_path: Path) -> None:
    """It cannot be synced then, which must not look as if the file had not been written."""
    script = """
import os, sys
from pathlib import Path
from awd.files import write_text
os.chdir(sys.argv[1])
if os.geteuid() == 0:  # whom no mode keeps out
    os.chown(".", 65534, 65534)
    os.setuid(65534)
os.chmod(".", 0o300)
try:
    os.listdir(".")
except PermissionError:
    print("not readable")
write_text(Path("file"), "new")
print("written")
os.chmod(".", 0o700)
"""
    assert output(script, tmp_path) == ["not readable", "written"]
    assert names(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        write_sealed(tmp_path / "taken" / "file", CONTENT)
    assert (tmp_path / "taken").read_text() == "a file"
