import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from awd.corpus import DATASETS, corpus_identity, load_corpus
from awd.corpus.download import Mirror
from awd.errors import CorpusError, InputError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def served(server, contents, dataset):
    """Data sets of which the one called ptb comes from the test's server."""
    return {"ptb": dataclasses.replace(dataset, mirrors=(Mirror(server.serve_raw(contents)),))}


def named(contents, pattern):
    return {pattern.format(split=split): content for split, content in contents.items()}


class TestPublishedCorpora:
    @pytest.mark.parametrize("name", ["ptb", "wikitext-2"])
    def test_have_the_token_counts_and_vocabulary_of_the_literature(self, real_data, name):
        text = load_corpus(name, data_dir=real_data)
        counts = {"train": len(text.train), "valid": len(text.valid), "test": len(text.test)}
        assert counts == DATASETS[name].tokens
        assert len(set(text.train) | set(text.valid) | set(text.test)) == DATASETS[name].vocabulary
        assert len(set(text.train)) == DATASETS[name].vocabulary

    @pytest.mark.parametrize("name", ["ptb", "wikitext-2"])
    def test_have_the_identity_that_is_known_without_them(self, real_data, name):
        assert load_corpus(name, data_dir=real_data).sha256 == corpus_identity(name)

    def test_are_the_sizes_that_the_paper_names(self):
        assert {name: dataset.vocabulary for name, dataset in DATASETS.items()} == {
            "python-docs": None,
            "ptb": 10_000,
            "wikitext-2": 33_278,
        }

    @pytest.mark.parametrize("name", DATASETS)
    def test_are_listed_with_title_licence_and_page(self, name):
        dataset = DATASETS[name]
        assert dataset.name == name
        assert dataset.title
        assert dataset.licence
        assert dataset.home.startswith("https://")

    @pytest.mark.parametrize("name", ["ptb", "wikitext-2"])
    def test_have_two_mirrors_at_least(self, name):
        assert len({mirror.url for mirror in DATASETS[name].mirrors}) >= 2
        assert all(("{split}" in mirror.url) != ("{split}" in mirror.member) for mirror in DATASETS[name].mirrors)


class TestDownload:
    def test_gives_the_words_and_tells_the_licence_first(self, served, server, tmp_path):
        told = []
        text = load_corpus("ptb", cache_dir=tmp_path, on_message=told.append, datasets=served)
        assert (text.name, text.valid) == ("ptb", ["the", "cat", "<eos>"])
        assert text.sha256 == corpus_identity("ptb", datasets=served)
        assert len(told) == 1
        assert "of the test's own" in told[0]
        assert str(tmp_path) in told[0]

    def test_is_done_once(self, served, server, tmp_path):
        first = load_corpus("ptb", cache_dir=tmp_path, datasets=served)
        server.replies.clear()
        server.requests.clear()
        told = []
        assert load_corpus("ptb", cache_dir=tmp_path, on_message=told.append, datasets=served) == first
        assert load_corpus("ptb", cache_dir=tmp_path, download=False, datasets=served) == first
        assert (server.requests, told) == ([], [])

    def test_is_done_again_when_the_cache_was_damaged(self, served, server, tmp_path):
        first = load_corpus("ptb", cache_dir=tmp_path, datasets=served)
        (tmp_path / "ptb" / "train.txt").write_bytes(b"the cat")
        server.requests.clear()
        assert load_corpus("ptb", cache_dir=tmp_path, datasets=served) == first
        assert server.requests

    def test_goes_where_the_environment_says(self, served, tmp_path, monkeypatch):
        monkeypatch.setenv("AWD_CACHE_DIR", str(tmp_path / "elsewhere"))
        load_corpus("ptb", datasets=served)
        assert (tmp_path / "elsewhere" / "ptb" / "train.txt").is_file()

    def test_is_not_done_unasked(self, served, server, tmp_path):
        with pytest.raises(CorpusError, match=r"python run_ablations\.py data ptb"):
            load_corpus("ptb", cache_dir=tmp_path, download=False, datasets=served)
        assert server.requests == []


class TestDataFolder:
    @pytest.mark.parametrize("name", ["ptb", "wikitext-2"])
    def test_every_folder_and_file_name_is_recognised(self, name, contents, sha256, write, tmp_path):
        known = dataclasses.replace(DATASETS[name], sha256=sha256)
        for folder in (*known.folders, ""):
            for number, pattern in enumerate(known.patterns):
                data_dir = tmp_path / f"{folder or 'itself'}{number}"
                write(data_dir / folder, named(contents, pattern))
                text = load_corpus(name, data_dir=data_dir, datasets={name: known})
                assert text.sha256 == corpus_identity(name, datasets={name: known})

    def test_is_given_by_the_environment_too(self, dataset, contents, write, monkeypatch):
        data_dir = write("data/penn", named(contents, "{split}.txt")).parent
        monkeypatch.setenv("AWD_DATA_DIR", str(data_dir))
        assert load_corpus("ptb", datasets={"ptb": dataset}).test == ["cat", "sat", "<eos>", "<eos>"]

    def test_without_the_corpus_says_what_was_looked_for_and_never_downloads(self, served, server, write, monkeypatch):
        data_dir = write("data", {"README.md": b"nothing here"})
        with pytest.raises(CorpusError) as error:
            load_corpus("ptb", data_dir=data_dir, datasets=served)
        for part in (str(data_dir), "penn", "train.txt", "ptb.test.txt"):
            assert part in str(error.value)
        monkeypatch.setenv("AWD_DATA_DIR", str(data_dir))
        with pytest.raises(CorpusError, match="not in the data folder"):
            load_corpus("ptb", datasets=served)
        assert server.requests == []

    def test_that_does_not_exist_is_named(self, served, server, tmp_path):
        with pytest.raises(CorpusError, match="no such data folder"):
            load_corpus("ptb", data_dir=tmp_path / "nowhere", datasets=served)
        assert server.requests == []

    def test_with_another_text_under_the_name_gives_both_digests(self, served, server, contents, sha256, write):
        data_dir = write("data/penn", named(contents | {"valid": b"something else\n"}, "{split}.txt")).parent
        with pytest.raises(CorpusError) as error:
            load_corpus("ptb", data_dir=data_dir, datasets=served)
        message = str(error.value)
        assert str(data_dir / "penn" / "valid.txt") in message
        assert f"expected sha256 {sha256['valid']}" in message
        assert "found sha256    " in message
        assert "Replace the file" in message
        assert server.requests == []

    def test_with_converted_line_ends_says_so(self, dataset, contents, write):
        crlf = {split: content.replace(b"\n", b"\r\n") for split, content in contents.items()}
        with pytest.raises(CorpusError, match="changed to CRLF"):
            load_corpus("ptb", data_dir=write("data", named(crlf, "{split}.txt")), datasets={"ptb": dataset})

    def test_with_a_split_missing_names_the_folder_and_the_split(self, dataset, contents, write):
        del contents["test"]
        folder = write("data/ptb", named(contents, "ptb.{split}.txt"))
        with pytest.raises(CorpusError, match=r"no file for the test split .*ptb\.test\.txt") as error:
            load_corpus("ptb", data_dir=folder.parent, datasets={"ptb": dataset})
        assert str(folder) in str(error.value)

    def test_with_other_files_beside_the_corpus_takes_those_that_are_it(self, dataset, contents, write):
        own = named(dict.fromkeys(contents, b"my own text\n"), "{split}.txt")
        data_dir = write("data", own | named(contents, "ptb.{split}.txt"))
        text = load_corpus("ptb", data_dir=data_dir, datasets={"ptb": dataset})
        assert text.valid == ["the", "cat", "<eos>"]


class TestOtherCorpora:
    def test_the_embedded_one_needs_nothing(self):
        text = load_corpus("python-docs")
        assert text.name == "python-docs"
        assert text.sha256 == corpus_identity("python-docs")

    def test_a_folder_of_the_users_own_is_found_by_its_path(self, contents, write):
        folder = write("novels", named(contents, "{split}.tokens"))
        text = load_corpus(str(folder))
        assert (text.name, text.valid) == ("novels", ["the", "cat", "<eos>"])
        assert text.sha256 == corpus_identity(str(folder))

    def test_a_name_wins_over_a_folder_here(self, dataset, contents, write, tmp_path, monkeypatch):
        write("ptb", named(contents, "{split}.txt"))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CorpusError, match="not downloaded"):
            load_corpus("ptb", cache_dir=tmp_path / "cache", download=False, datasets={"ptb": dataset})
        assert load_corpus("./ptb").valid == ["the", "cat", "<eos>"]

    @pytest.mark.parametrize(
        ("wrong", "right"),
        [("ptbb", "ptb"), ("PTB", "ptb"), ("penn", "ptb"), ("wikitext2", "wikitext-2"), ("python-doc", "python-docs")],
    )
    def test_an_unknown_name_is_told_the_nearest(self, wrong, right):
        with pytest.raises(CorpusError, match=f"unknown data set '{wrong}'; did you mean '{right}'.*path of a folder"):
            load_corpus(wrong)
        with pytest.raises(CorpusError, match="unknown data set"):
            corpus_identity(wrong)

    @pytest.mark.parametrize("name", ["", "no/such/folder"])
    def test_what_is_no_folder_is_refused(self, name):
        with pytest.raises(CorpusError, match="path of a folder"):
            load_corpus(name)

    def test_a_file_is_no_corpus(self, write):
        file = write("mine", {"train.txt": b"a\n"}) / "train.txt"
        with pytest.raises(InputError, match="this is a file"):
            load_corpus(str(file))


def test_neither_torch_nor_pooch_is_imported_for_the_list():
    program = "import sys, awd.corpus; print(sorted({'torch', 'pooch', 'requests'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout == "[]\n"
