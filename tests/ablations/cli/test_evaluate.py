"""A saved model is scored on any text, in the vocabulary that it was trained with."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from ablations.storage.store import Store
from awd import Cache, encode, evaluate, evaluate_with_caches, load_corpus, load_pretrained, perplexity, tune_cache
from awd.corpus.batching import batchify
from tests.ablations.conftest import CommandLine, call, write_corpus, write_profile


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a run on the small corpus ``own-text``, in ``r/weights``; read only."""
    place = tmp_path_factory.mktemp("evaluate")
    write_corpus(place / "own-text")
    options = ["--profile", write_profile(place / "tiny.yaml"), "--dataset", "./own-text", "--results", "r"]
    done = call(place, "run", "--variants", "full", *options, "--no-audit", "--no-report", "--backend", "sequential")
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "r" / "weights").iterdir()
    return folder


@pytest.fixture
def cli(trained: Path) -> CommandLine:
    """Called beside ``own-text`` and ``r``."""
    return partial(call, trained.parents[2])


def rows(printed: str) -> dict[str, tuple[str, ...]]:
    """Perplexity, tokens and share of ``<unk>`` by split."""
    found = re.findall(r"^ *(valid|test) +(\S+) +(\S+) +(\S+)", printed, re.MULTILINE)
    return {split: tuple(numbers) for split, *numbers in found}


def test_a_saved_model_is_scored_on_any_text(cli: CommandLine, trained: Path) -> None:
    place = trained.parents[2]
    row = Store(place / "r").run(trained.name)
    assert row is not None
    own = cli("evaluate", trained.name, "--results", "r", "--dataset", "./own-text")
    assert own.returncode == 0, own.stderr
    assert rows(own.stdout) == {
        "valid": (f"{row['valid_ppl']:.2f}", "130", "0.0%"),
        "test": (f"{row['test_ppl']:.2f}", "130", "0.0%"),
    }
    assert (row["train_unknown"], row["valid_unknown"], row["test_unknown"]) == (0, 0, 0)

    # the same sentences in another order: ids of a vocabulary of its own would be others
    other = write_corpus(place / "other")
    lines = (other / "train.txt").read_text().splitlines()
    (other / "train.txt").write_text("\n".join(reversed(lines)) + "\n")
    (other / "test.txt").write_text("one dog sat on the mat\n" * 4)
    scored = cli("evaluate", trained, "--dataset", "./other")
    assert rows(scored.stdout)["valid"] == rows(own.stdout)["valid"]
    saved = load_pretrained(trained)
    corpus = encode(load_corpus(str(other)), words=saved.words)
    assert corpus.words == saved.words
    ids = batchify(torch.tensor(corpus.test), saved.config.training.test_batch_size, "test")
    assert rows(scored.stdout)["test"] == (f"{perplexity(evaluate(saved.model, ids)):.2f}", "28", "0.0%")

    (other / "test.txt").write_text("colourless green ideas\n")
    strange = cli("evaluate", trained, "--dataset", "./other")
    assert strange.returncode == 2
    assert "such as 'colourless', and it has no <unk>" in strange.stderr
    missing = cli("evaluate", "no-such-run", "--results", "r", "--dataset", "./own-text")
    assert missing.returncode == 2
    assert (
        f"'no-such-run': neither a run with weights nor a folder of weights; in r/weights there are {trained.name}"
        in (missing.stderr)
    )


def test_a_cache_is_mixed_in_and_tuned_on_valid(cli: CommandLine, trained: Path) -> None:
    corpus = ["--dataset", "./own-text"]
    plain = cli("evaluate", trained, *corpus)
    mixed = cli("evaluate", trained, *corpus, "--cache", "--window", 50, "--theta", 0.2, "--lambda", 0.3)
    found = re.findall(r"^ *(?:valid|test) +(\S+) +(\S+) +130", mixed.stdout, re.MULTILINE)
    saved = load_pretrained(trained)
    text = encode(load_corpus(str(trained.parents[2] / "own-text")), words=saved.words)
    columns = saved.config.training
    splits = [batchify(torch.tensor(text.valid), columns.valid_batch_size, "valid")]
    splits += [batchify(torch.tensor(text.test), columns.test_batch_size, "test")]
    losses = [evaluate_with_caches(saved.model, ids, [Cache(50, 0.2, 0.3)])[0] for ids in splits]
    alone = [rows(plain.stdout)[split][0] for split in ("valid", "test")]
    assert found == [(old, f"{perplexity(loss):.2f}") for old, loss in zip(alone, losses, strict=True)]

    tuned = cli("evaluate", trained, *corpus, "--tune-cache")
    best = tune_cache(saved.model, splits[0])
    assert f"window {best.window}, theta {best.theta}, lambda {best.lambda_}" in tuned.stderr
    refused = cli("evaluate", trained, *corpus, "--cache", "--theta", "inf")
    assert (refused.returncode, refused.stderr) == (2, "error: --cache: theta: given inf, expected 0 or more\n")


def test_text_is_written_with_a_saved_model(cli: CommandLine, trained: Path) -> None:
    asked = ["generate", trained, "--words", 30, "--seed", 4]
    first, again = cli(*asked, "--prompt", "the cat"), cli(*asked, "--prompt", "the cat")
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert first.stdout.startswith("the cat")
    words = load_pretrained(trained).words
    lines = first.stdout.splitlines()
    assert len(" <eos> ".join(lines).split()) == 32
    assert set(first.stdout.split()) <= {*words} - {"<eos>", "<unk>"}
    strange = cli(*asked, "--prompt", "colourless")
    assert (strange.returncode, strange.stdout) == (2, "")
    assert "--prompt: 'colourless' is not in the vocabulary" in strange.stderr
    tame = cli(*asked, "--temperature", "inf")
    assert (tame.returncode, tame.stderr) == (2, "error: generate: temperature: given inf, expected 0 or more\n")
