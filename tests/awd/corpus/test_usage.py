"""One answer to what a corpus comes to, and whether it can be trained on."""

import pytest

from awd.config import CorpusConfig, TrainingConfig
from awd.corpus import DATASETS, load_corpus
from awd.corpus.text import SPLITS, Text, make_text
from awd.corpus.usage import examine, examine_published
from awd.errors import CorpusError

LETTERS = "a b c d e f g h i"


def make(train: str, valid: str = LETTERS, test: str = LETTERS) -> Text:
    contents = {"train": train.encode(), "valid": valid.encode(), "test": test.encode()}
    return make_text("own", contents, {split: f"own/{split}.txt" for split in SPLITS})


def test_a_vocabulary_of_less_than_ten_words_is_refused():
    assert examine(make(LETTERS)).vocabulary == 10
    with pytest.raises(CorpusError, match="own: a vocabulary of 9 words is too small: at least 10 are needed"):
        examine(make("a b c d e f g h", "a", "a"))
    with pytest.raises(CorpusError, match=r"vocabulary of 2 words .* corpus.minimum_count, 100000, become <unk>"):
        examine(make(LETTERS), CorpusConfig(minimum_count=100_000))


def test_a_large_share_of_unknown_words_is_a_warning():
    many = examine(make(f"{LETTERS} {LETTERS} x", valid="y y a", test="a b"))
    assert many.unknown == {"train": 1 / 20, "valid": 1 / 2, "test": 0}
    (warning,) = many.warnings
    assert warning.startswith("own: <unk>: 5.0% of train, 50.0% of valid, 0.0% of test; where it is more than 33%")
    assert not examine(make(f"{LETTERS} {LETTERS} x", valid="y a")).warnings, "a third exactly"


def test_a_split_too_short_for_its_batch_is_refused():
    assert examine(make(LETTERS), training=TrainingConfig(batch_size=5, valid_batch_size=5)).tokens["train"] == 10
    with pytest.raises(CorpusError, match="the valid split has 10 tokens, too few for 6 columns"):
        examine(make(LETTERS), training=TrainingConfig(batch_size=5, valid_batch_size=6))


@pytest.mark.parametrize("name", ["ptb", "wikitext-2"])
def test_of_a_published_corpus_the_same_is_known_without_its_text(real_data, name):
    whole = examine_published(DATASETS[name], CorpusConfig(), TrainingConfig())
    assert whole == examine(load_corpus(name, data_dir=real_data), CorpusConfig(), TrainingConfig())
    assert examine_published(DATASETS[name], CorpusConfig(minimum_count=2), TrainingConfig()) is None


def test_what_nobody_can_know_beforehand_is_not_said():
    assert examine_published(DATASETS["python-docs"], CorpusConfig(), TrainingConfig()) is None
    with pytest.raises(CorpusError, match="too few for 60000 columns"):
        examine_published(DATASETS["ptb"], CorpusConfig(), TrainingConfig(test_batch_size=60_000))
