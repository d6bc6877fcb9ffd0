import pytest

from awd.corpus.files import PATTERNS, file_names, load_folder
from awd.errors import CorpusError

GOOD = {"train.txt": b"a b\na\n", "valid.txt": b"a\n", "test.txt": b"b\n"}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_names_that_the_usual_releases_give_their_files_are_recognised(write, pattern):
    files = {pattern.format(split=split): f"the {split}\n".encode() for split in ("train", "valid", "test")}
    text = load_folder(write("mine", files))
    assert (text.name, text.train, text.test) == ("mine", ["the", "train", "<eos>"], ["the", "test", "<eos>"])


@pytest.mark.parametrize("spelling", ["val", "dev", "validation"])
def test_other_words_may_stand_for_valid(write, spelling):
    files = {"train.tokens": b"a\n", f"{spelling}.tokens": b"v\n", "test.tokens": b"a\n"}
    assert load_folder(write("mine", files)).valid == ["v", "<eos>"]


def test_names_are_unique():
    names = [name for split in ("train", "valid", "test") for name in file_names(split)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_missing_split_is_named_with_its_folder_and_the_names_looked_for(write, split):
    folder = write("mine", {name: content for name, content in GOOD.items() if not name.startswith(split)})
    with pytest.raises(CorpusError) as error:
        load_folder(folder)
    assert str(folder) in str(error.value)
    assert f"the {split} split" in str(error.value)
    assert f"wiki.{split}.tokens" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_two_files_for_one_split_are_both_named(write):
    with pytest.raises(CorpusError, match=r"valid\.txt and val\.txt could each be the valid split"):
        load_folder(write("mine", GOOD | {"val.txt": b"a\n"}))


def test_a_folder_of_that_name_is_no_split(write):
    folder = write("mine", {name: content for name, content in GOOD.items() if name != "test.txt"})
    (folder / "test.txt").mkdir()
    with pytest.raises(CorpusError, match="the test split"):
        load_folder(folder)


@pytest.mark.parametrize("content", [b"", b"\n \n\n"])
def test_an_empty_split_is_refused_and_its_file_named(write, content):
    with pytest.raises(CorpusError, match=r"valid\.txt.*empty"):
        load_folder(write("mine", GOOD | {"valid.txt": content}))


def test_an_undecodable_split_is_refused_and_its_file_named(write):
    with pytest.raises(CorpusError, match=r"test\.txt: not UTF-8"):
        load_folder(write("mine", GOOD | {"test.txt": "café\n".encode("latin-1")}))


def test_windows_line_ends_leave_the_words_alone(write):
    unix = load_folder(write("unix", GOOD))
    windows = load_folder(write("windows", {name: content.replace(b"\n", b"\r\n") for name, content in GOOD.items()}))
    assert (windows.train, windows.valid, windows.test) == (unix.train, unix.valid, unix.test)


def test_the_current_folder_has_a_name_too(write, monkeypatch):
    folder = write("mine", GOOD)
    monkeypatch.chdir(folder)
    assert load_folder(folder.relative_to(folder)).name == "mine"
