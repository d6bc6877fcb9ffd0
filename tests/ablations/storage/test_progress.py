"""Progress files: whole, readable by anyone, and worth nothing after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.storage.progress import Progress, ProgressFolder

HALF = Progress("a", 1, "here", epochs=6, epoch=2, valid_ppl=9.0, seconds=10.0)


def test_what_is_written_is_read_until_it_is_removed(tmp_path: Path) -> None:
    folder = ProgressFolder(tmp_path)
    assert folder.read("a") is None
    folder.update(HALF)
    assert folder.read("a") == HALF
    folder.remove("a")
    folder.remove("a")
    assert folder.read("a") is None
    assert not list(folder.folder.iterdir())


def test_what_a_killed_writer_left_is_removed_with_the_file(tmp_path: Path) -> None:
    folder = ProgressFolder(tmp_path)
    folder.update(HALF)
    (folder.folder / ".a.json.12345.tmp").touch()
    other = folder.folder / ".b.json.12345.tmp"  # another run's may be being written
    other.touch()
    folder.remove("a")
    assert list(folder.folder.iterdir()) == [other]


def test_time_left_follows_from_the_mean_epoch() -> None:
    assert HALF.seconds_left == 20.0
    assert Progress("a", 1, "here", epochs=6).seconds_left is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "a"}', "\x00"])
def test_a_damaged_file_is_no_progress(tmp_path: Path, content: str) -> None:
    folder = ProgressFolder(tmp_path)
    folder.update(HALF)
    (folder.folder / "a.json").write_text(content, encoding="utf-8")
    assert folder.read("a") is None


def test_a_folder_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "progress").write_text("a file where the folder should be", encoding="utf-8")
    ProgressFolder(tmp_path).update(HALF)
    assert ProgressFolder(tmp_path).read("a") is None
