import builtins
from itertools import pairwise

import pytest

from awd.corpus.python_docs import load_python_docs
from awd.corpus.text import EOS, SPLITS
from awd.errors import CorpusError

topics = pytest.importorskip("pydoc_data.topics").topics


@pytest.fixture(scope="module")
def docs():
    return load_python_docs()


def test_it_has_about_115_000_tokens_cut_80_10_10(docs):
    # Python 3.11 has 114,000 and an <eos> a line; others have some more or less
    sizes = {split: len(getattr(docs, split)) for split in SPLITS}
    total = sum(sizes.values())
    assert 100_000 < total < 200_000
    assert sizes["train"] / total == pytest.approx(0.8, abs=0.03)
    assert sizes["valid"] / total == pytest.approx(0.1, abs=0.02)
    assert sizes["test"] / total == pytest.approx(0.1, abs=0.02)


def test_every_topic_is_cut_by_its_lines_in_order_and_loses_nothing_but_white_space(docs):
    expected = dict.fromkeys(SPLITS, "")
    for topic in sorted(topics):
        lines = ["".join(line.lower().split()) for line in topics[topic].splitlines() if line.strip()]
        bounds = [0, len(lines) * 8 // 10, len(lines) * 9 // 10, len(lines)]
        for split, (start, stop) in zip(SPLITS, pairwise(bounds), strict=True):
            expected[split] += "".join(f"{line}{EOS}" for line in lines[start:stop])
    for split in SPLITS:
        assert "".join(getattr(docs, split)) == expected[split]


def test_words_are_lower_case_and_punctuation_stands_apart(docs):
    words = set(docs.train)
    assert {"the", "(", ")", ".", "__init__"} <= words
    assert not any(word != word.lower() for word in words)
    assert not any(word[0].isalpha() and word.endswith((".", ",", ")")) for word in words - {EOS})


def test_it_is_the_same_text_every_time(docs):
    assert load_python_docs() == docs


def test_a_python_without_it_is_told_as_such(monkeypatch):
    real = builtins.__import__

    def without_topics(name, *args, **kwargs):
        if name == "pydoc_data.topics":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_topics)
    with pytest.raises(CorpusError, match=r"carries no pydoc_data\.topics"):
        load_python_docs()
