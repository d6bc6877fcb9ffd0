"""What a corpus is found to be, `data`, the dry run and the run say alike; what is doubtful is in the report, too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ablations.storage.status import Status
from ablations.storage.store import Store
from tests.ablations.conftest import CommandLine, write_corpus, write_profile

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write(folder: Path, train: str, valid: str, test: str) -> Path:
    folder.mkdir()
    for split, text in (("train", train), ("valid", valid), ("test", test)):
        (folder / f"{split}.txt").write_text(text, encoding="utf-8", newline="")
    return folder


def letters(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(LETTERS, weights=range(1, 53, 2), k=count))


def one_line(folder: Path) -> Path:
    return write(folder, letters(1000, 1), letters(100, 2), letters(100, 3))


def without_blanks(folder: Path) -> Path:
    return write(folder, *("".join(f"{line}{seed}。\n" for line in range(60)) for seed in range(3)))


def short_test(folder: Path) -> Path:
    return write(folder, letters(1000, 1), letters(100, 2), "a\n")


def nothing_to_learn_from(folder: Path) -> Path:
    return write(folder, f"{' '.join(LETTERS)}\n" * 20, letters(100, 2), "a b unseen\n" * 9)


CORPORA = [
    (one_line, "300", ""),
    (without_blanks, "null", "a vocabulary of 2 words is too small"),
    (short_test, "null", "the test split has 2 tokens, too few for 2 columns"),
    (nothing_to_learn_from, "null", "such as 'unseen', and it has no <unk>"),
]


@pytest.mark.parametrize(
    ("make", "used", "refused"), CORPORA, ids=[f"{make.__name__} {used}" for make, used, _ in CORPORA]
)
def test_data_the_dry_run_and_the_run_agree(cli: CommandLine, tmp_path: Path, make, used: str, refused: str) -> None:
    make(tmp_path / "text")
    profile = write_profile(tmp_path / "tiny.yaml")
    profile.write_text(profile.read_text().rstrip() + f"\n          corpus: {{train_tokens: {used}}}\n")
    sweep = ["run", "--variants", "full", "--profile", profile, "--dataset", "./text", "--no-audit", "--no-report"]
    sweep += ["--backend", "sequential", "--results", "r", "--set", "training.epochs=1", "--set", "finetuning.epochs=0"]
    for command in (["data", "./text", "--profile", profile], [*sweep, "--dry-run"], sweep):
        done = cli(*command)
        assert done.returncode == (2 if refused else 0), (command[0], done.stderr)
        assert refused in done.stderr
    assert (tmp_path / "r").exists() != bool(refused)


def test_many_unknown_words_are_a_warning_wherever_the_corpus_is_told(cli: CommandLine, tmp_path: Path) -> None:
    write_corpus(tmp_path / "own-text")
    (tmp_path / "own-text" / "test.txt").write_text("the cat <eos>\nunseen words\rhere\n" * 9, newline="")
    with (tmp_path / "own-text" / "train.txt").open("a") as train:
        train.write("once\n")
    told = "<unk>: 0.3% of train, 0.0% of valid, 37.5% of test; where it is more than 33%"
    common = ["--dataset", "./own-text", "--profile", write_profile(tmp_path / "tiny.yaml"), "--results", "r"]
    sweep = ["run", "--variants", "full", *common, "--no-audit", "--backend", "sequential", "--reports", "s"]
    for command, stream in ((["data", "./own-text"], "stdout"), ([*sweep, "--dry-run"], "stdout"), (sweep, "stderr")):
        said = getattr(cli(*command), stream)
        assert f"warning: own-text: {told}" in said, (command[0], said)
        assert "<eos> stands in the text itself (9 in test)" in said
        assert "carriage returns without a line feed, the line ends of old systems, are read as blanks (9 in" in said
    (row,) = Store(tmp_path / "r").runs().to_dict("records")
    assert [round(row[f"{split}_unknown"], 3) for split in ("train", "valid", "test")] == [0.003, 0, 0.375]
    (folder,) = (path for path in (tmp_path / "s").iterdir() if path.is_dir())
    assert f"Warning: {told}".replace("<", "\\<") in (folder / "table5.md").read_text()
    assert f"Warning: {told}".replace("<", "&lt;").replace(">", "&gt;") in (folder / "index.html").read_text()
    assert "Warning: <unk>: 0.3% of train" in cli("compare", *common).stdout.replace("\n", " ")


@pytest.mark.parametrize(("rate", "status"), [(5, Status.DONE), (300, Status.DIVERGED)])
def test_a_run_that_ends_worse_than_guessing_has_diverged(
    cli: CommandLine, tmp_path: Path, rate: int, status: str
) -> None:
    write_corpus(tmp_path / "own-text")
    profile = write_profile(tmp_path / "tiny.yaml")
    done = cli(
        *("run", "--variants", "full", "--profile", profile, "--dataset", "./own-text", "--results", "r"),
        *("--set", f"optimizer.learning_rate={rate}", "--no-audit", "--no-report", "--backend", "sequential"),
    )
    (row,) = Store(tmp_path / "r").runs().to_dict("records")
    assert row["status"] == status
    assert done.returncode == (status == Status.DIVERGED)
    if status == Status.DIVERGED:
        last = Store(tmp_path / "r").epochs([row["run_id"]])["valid_ppl"].iloc[-1]
        assert last > 1e6
        written = f"{last:.1e}".replace("e+", "e").replace("e0", "e")
        error = f"validation perplexity {written} after the last epoch, worse than guessing among the 11 words"
        assert error in row["error"]
        assert error in done.stderr
