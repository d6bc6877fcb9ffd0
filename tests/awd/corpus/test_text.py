import hashlib

import pytest

from awd.config import CorpusConfig
from awd.corpus.text import EOS, SPLITS, UNK, Text, encode, make_text, read_file, split_lines
from awd.errors import CorpusError


def make(train: bytes, valid: bytes = b"a b\n", test: bytes = b"a b\n", name: str = "own") -> Text:
    contents = {"train": train, "valid": valid, "test": test}
    return make_text(name, contents, {split: f"{name}/{split}.txt" for split in SPLITS})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b\nc\n", ["a", "b", EOS, "c", EOS]),
        ("a b\nc", ["a", "b", EOS, "c", EOS]),
        ("a\n\nb\n", ["a", EOS, EOS, "b", EOS]),
        (" a\t b \n", ["a", "b", EOS]),
        ("\n", [EOS]),
        ("", []),
    ],
)
def test_every_line_ends_in_eos(text, words):
    assert split_lines(text) == words


def test_line_ends_and_byte_order_mark_of_windows_are_no_words():
    assert make(b"\xef\xbb\xbfa b\r\nc\r\n").train == ["a", "b", EOS, "c", EOS]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", [b"", b" \n\n\t\n"])
def test_an_empty_split_is_refused_by_its_file(split, content):
    contents = dict.fromkeys(SPLITS, b"a b\n") | {split: content}
    with pytest.raises(CorpusError, match=rf"^own/{split}\.txt: this split is empty"):
        make_text("own", contents, {name: f"own/{name}.txt" for name in SPLITS})


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_that_is_not_utf_8_is_refused_by_its_file_and_byte(split):
    contents = dict.fromkeys(SPLITS, b"a b\n") | {split: b"caf\xe9 a\n"}
    with pytest.raises(CorpusError, match=rf"^own/{split}\.txt: not UTF-8 text \(byte 3"):
        make_text("own", contents, {name: f"own/{name}.txt" for name in SPLITS})


def test_an_unreadable_file_is_told_by_its_path(tmp_path):
    missing = tmp_path / "train.txt"
    with pytest.raises(CorpusError, match="cannot be read") as caught:
        read_file(missing)
    assert str(caught.value).startswith(str(missing))
    missing.write_bytes(b"a\n")
    assert read_file(missing) == b"a\n"


def test_the_digest_depends_on_content_and_not_on_where_it_lies():
    digest = make(b"a b\n", name="here").sha256
    assert make(b"a b\n", name="there").sha256 == digest
    changed = [make(b"b a\n"), make(b"a b\n\n"), make(b"a b\n", valid=b"a\n"), make(b"a b\n", test=b"a\n")]
    assert len({digest, *(text.sha256 for text in changed)}) == 5


def test_the_digest_tells_splits_apart():
    assert make(b"a\n", valid=b"a b\n").sha256 != make(b"a b\n", valid=b"a\n").sha256


def test_the_digest_can_be_computed_from_the_files_own():
    of_one = hashlib.sha256(b"a b\n").hexdigest()
    of_splits = "".join(f"{split} {of_one}\n" for split in SPLITS)
    assert make(b"a b\n").sha256 == hashlib.sha256(of_splits.encode()).hexdigest()


def test_a_closed_vocabulary_is_kept_whole():
    encoded = encode(make(b"a b once\n", valid=b"b a\n", test=b"a\n"))
    assert encoded.words == ["a", "b", "once", EOS]
    assert (encoded.train, encoded.valid, encoded.test) == ([0, 1, 2, 3], [1, 0, 3], [0, 3])


def test_an_open_vocabulary_learns_unk_from_words_seen_once():
    encoded = encode(make(b"a b a\nb once\n", valid=b"a new\n"))
    assert encoded.words == ["a", "b", EOS, UNK]
    assert [encoded.words[index] for index in encoded.train] == ["a", "b", "a", EOS, "b", UNK, EOS]
    assert [encoded.words[index] for index in encoded.valid] == ["a", UNK, EOS]


def test_an_open_vocabulary_with_unk_of_its_own_keeps_words_seen_once():
    encoded = encode(make(b"a <unk> once\n", valid=b"new once\n", test=b"a\n"))
    assert encoded.words == ["a", UNK, "once", EOS]
    assert [encoded.words[index] for index in encoded.valid] == [UNK, "once", EOS]


def test_an_open_vocabulary_with_nothing_to_learn_unk_from_is_refused():
    with pytest.raises(
        CorpusError, match="own: there are words that the vocabulary lacks, such as 'b', and it has no <unk>"
    ):
        encode(make(b"a a\na a\n", valid=b"new\n"))


def test_eos_is_no_rare_word_even_where_train_is_one_line():
    encoded = encode(make(b"a b once a b\n", valid=b"a new\n"))
    assert [encoded.words[index] for index in encoded.valid] == ["a", UNK, EOS]


def test_the_vocabulary_comes_from_the_tokens_that_are_used():
    text = make(b"a b\na once\nlater later\n", valid=b"a later\n", test=b"b\n")
    encoded = encode(text, CorpusConfig(train_tokens=6))
    assert len(encoded.train) == 6
    assert "later" not in encoded.words
    assert [encoded.words[index] for index in encoded.valid] == ["a", UNK, EOS]
    assert "later" in encode(text).words


def test_rare_words_are_unk_on_request():
    text = make(b"a b a\nb once <unk>\n", valid=b"a once\n", test=b"b new\n")
    encoded = encode(text, CorpusConfig(minimum_count=2))
    assert encoded.words == ["a", "b", EOS, UNK], "its own <unk> stays, though it is rare"
    assert [encoded.words[index] for index in encoded.train] == ["a", "b", "a", EOS, "b", UNK, UNK, EOS]
    assert [encoded.words[index] for index in encoded.valid] == ["a", UNK, EOS]
    assert [encoded.words[index] for index in encoded.test] == ["b", UNK, EOS]
    assert encode(text, CorpusConfig(minimum_count=3)).words == [UNK, EOS]
    counted = CorpusConfig(train_tokens=4, minimum_count=2)  # of the words that are used
    assert encode(make(b"a b a\nb b\n", valid=b"a\n"), counted).words == ["a", UNK, EOS]


def test_more_tokens_than_there_are_cannot_be_used():
    with pytest.raises(CorpusError, match=r"corpus\.train_tokens: 4 is more than the 3 tokens .* of own"):
        encode(make(b"a b\n"), CorpusConfig(train_tokens=4))
    assert len(encode(make(b"a b\n"), CorpusConfig(train_tokens=3)).train) == 3


def test_a_beginning_without_a_line_end_has_eos_for_the_splits_that_end_in_one():
    """text8, or any text of one line: the only word that train lacks is our own."""
    text = make(b"a b c a b c a b c a b c\n", valid=b"b a c", test=b"c c")
    encoded = encode(text, CorpusConfig(train_tokens=9))
    assert encoded.words == ["a", "b", "c", EOS]
    assert encoded.valid == [1, 0, 2, 3]
    once = encode(make(b"a b once a b\n", valid=b"a\n"), CorpusConfig(train_tokens=5))
    assert once.words == ["a", "b", "once", EOS], "a closed vocabulary is kept whole"


class TestTheVocabularyOfATrainedNetwork:
    def test_is_used_for_another_text_whose_unseen_words_are_unk(self):
        words = ["a", "b", UNK, EOS]
        encoded = encode(make(b"b z a\n", valid=b"a a\n", test=b"y\n"), words=words)
        assert encoded.words == words
        assert (encoded.train, encoded.valid, encoded.test) == ([1, 2, 0, 3], [0, 0, 3], [2, 3])
        assert encoded.unknown == {"train": 1 / 4, "valid": 0.0, "test": 1 / 2}

    def test_gives_the_text_it_was_made_from_the_same_ids(self):
        text = make(b"a b a\nb once\n", valid=b"a new\n")
        assert encode(text, words=encode(text).words) == encode(text)

    def test_without_unk_refuses_unseen_words_by_name(self):
        with pytest.raises(CorpusError, match=r"own: .*such as 'b', and it has no <unk>"):
            encode(make(b"a b\n"), words=["a", EOS])

    def test_has_every_word_once(self):
        with pytest.raises(ValueError, match="words: given 3, of which 2 are different"):
            encode(make(b"a b\n"), words=["a", "a", EOS])


def test_eos_of_the_texts_own_and_line_ends_of_old_systems_are_told():
    assert make(b"a b\r\nb a\r\n").warnings == ()
    (own,) = make(b"a b <eos>\nb a <eos>\n", valid=b"a <eos>\n").warnings
    assert own.startswith("own: <eos> stands in the text itself (2 in train, 1 in valid), and every line end is one")
    (old,) = make(b"a b\rb a\ra\r\n").warnings
    assert old.startswith("own: carriage returns without a line feed")
    assert "(2 in train)" in old
    assert make(b"a <eos>less b\n").warnings == ()
