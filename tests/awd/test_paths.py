"""Paths as users give them, on a real disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from awd.errors import InputError
from awd.paths import folder_name, short_name, user_path


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, a folder, a link to nothing and a circle of links."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("given", ["folder", "./folder/", "new", "new/er", "folder/new", "~", "~/folder", "~/new"])
def test_a_folder_that_is_there_or_can_be_made_is_taken(disk: Path, given: str) -> None:
    assert user_path(given, "--results", folder=True).absolute() == (disk / given.replace("~", str(disk)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "names no path"),
        (" ", "names no path"),
        ("file", "this is a file, where a folder is expected"),
        ("file/new", "Not a directory"),
        ("dangling", "a link to gone, which does not exist"),
        ("dangling/new", "a link to gone, which does not exist"),
        ("circle", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
        ("new/" + "x" * 300, "xxx... is longer than the file system allows"),
        ("ü" * 128, "File name too long"),
        ("x/" * 3000, "File name too long"),
        ("~no-such-user/x", "no home folder"),
        ("null\0", "null"),
    ],
)
def test_any_other_is_refused_and_named(disk: Path, given: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        user_path(given, "--results", folder=True)
    assert str(caught.value).startswith(f"--results {given!r}: ")
    assert said in str(caught.value)


def test_a_folder_is_no_file(disk: Path) -> None:
    assert user_path("~/file", "suite", folder=False) == disk / "file"
    with pytest.raises(InputError, match="suite 'folder': this is a folder, where a file is expected"):
        user_path("folder", "suite", folder=False)


def test_every_folder_has_a_name_that_can_be_stored(disk: Path) -> None:
    assert folder_name(Path()) == disk.name
    assert folder_name(Path("/")) == "root"
    assert folder_name(Path("caf\udce9")) == "caf?"


def test_long_names_are_cut_and_stay_apart() -> None:
    assert short_name("small-own") == "small-own"
    long = [short_name("語" * 200 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(name.encode()) < 150 for name in long)
