"""Every input that cannot be used ends in one clear message and exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ablations.conftest import CommandLine, write_corpus


def refuse(cli: CommandLine, folder: Path, arguments: list[object], *said: str, **extra: str) -> None:
    """The command fails with code 2, says each of ``said`` without a traceback, and leaves no file."""
    before = sorted(folder.rglob("*"))
    done = cli(*arguments, **extra)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variants", "no-weight-drp"], ["unknown variant 'no-weight-drp'", "did you mean 'no-weight-drop'"]),
        (["--all", "--profile", "dmeo"], ["unknown profile 'dmeo'", "did you mean 'demo'"]),
        (["--all", "--suite", "table4"], ["unknown suite 'table4'", "did you mean 'table5'"]),
        (["--all", "--dataset", "wikitext2"], ["unknown data set 'wikitext2'", "did you mean 'wikitext-2'"]),
        (["--all", "--set", "model.hiden_size=5"], ["--set", "model.hiden_size", "did you mean 'hidden_size'"]),
        (["--all", "--set", "modle.hidden_size=5"], ["--set", "modle", "did you mean 'model'"]),
        (["--all", "--set", "model.hidden_size=big"], ["model.hidden_size", "'big'", "not a whole number"]),
        (["--all", "--set", "model.hidden_size=0"], ["model.hidden_size", "0", "greater than or equal to 1"]),
        (
            ["--all", "--set", "regularization.weight_dropout=1"],
            ["weight_dropout", "1", "less than or equal to 0.99998"],
        ),
        (["--all", "--set", "optimizer.method=sdg"], ["optimizer.method", "'sdg'", "'nt-asgd'"]),
        (["--all", "--set", "model=5"], ["model", "not a mapping"]),
        (["--all", "--set", "model.hidden_size"], ["model.hidden_size", "key=value"]),
        (["--all", "--set", "model.hidden_size=[1"], ["--set"]),
        (["--all", "--seeds", "one"], ["--seeds", "'one'"]),
        (["--all", "--seeds", "0"], ["--seeds", "'0'"]),
        (["--all", "--seeds", ""], ["--seeds", "''"]),
        (["--variants", ","], ["--variants ','", "no variant was named"]),
        (["--all", "--device", "cuda:99"], ["--device cuda:99"]),
        (["--all", "--device", "gpu"], ["--device 'gpu'", "cuda:N"]),
        (["--all", "--jobs", "0"], ["--jobs"]),
        (["--all", "--variants", "full"], ["either --all, or --variants"]),
        (["run"], ["either --all, or --variants"]),
        (["--al"], ["--al"]),
        (["rnu", "--all"], ["rnu"]),
        (["--all", "--set", "training.batch_size=999999"], ["train split", "training.batch_size"]),
        (["--all", "--set", "corpus.train_tokens=999999999"], ["corpus.train_tokens", "999999999"]),
        (["report"], ["no finished run of suite table5, profile demo", "run_ablations.py --all"]),
        (
            ["compare", "--profile", "smoke", "--reference", "nowhere"],
            ["no finished run of suite table5, profile smoke"],
        ),
        (["data", "pbt"], ["unknown data set 'pbt'", "did you mean 'ptb'"]),
    ],
)
def test_wrong_options_are_refused(cli: CommandLine, tmp_path: Path, arguments: list[object], said: list[str]) -> None:
    refuse(cli, tmp_path, arguments, *said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\ntitel: y\n", ["titel", "did you mean 'title'"]),
        ("{name: x, title: y, scale: huge, datasets: [ptb], seeds: [1]}", ["scale", "'huge'", "'reduced'"]),
        ("{name: x, title: y, scale: paper, datasets: [], seeds: [1]}", ["datasets", "at least 1"]),
        ("{name: x, title: y, scale: paper, datasets: [ptb], seeds: [-1]}", ["seeds", "-1"]),
        (
            "{name: x, title: y, scale: paper, datasets: [ptb], seeds: [1], config: {model: {layers: 2}}}",
            ["model.layers", "did you mean 'num_layers'"],
        ),
        (
            "{name: x, title: y, scale: paper, datasets: [ptb], seeds: [1], per_dataset: {wikitext: {}}}",
            ["per_dataset", "'wikitext'", "did you mean 'wikitext-2'"],
        ),
        ("name: x\nname: y\n", ["line 2", "'name' stands twice"]),
        ("name: [x\n", ["line"]),
        ("just text", ["not a mapping"]),
    ],
)
def test_a_faulty_profile_names_file_and_key(cli: CommandLine, tmp_path: Path, text: str, said: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    refuse(cli, tmp_path, ["--all", "--profile", path], *said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: s, title: t, baseline: a, variants: [{name: b, label: b}]}", ["baseline", "'a'", "allowed: b"]),
        (
            "{name: s, title: t, baseline: a, variants: [{name: a, label: x}, {name: a, label: y}]}",
            ["'a' stands twice"],
        ),
        (
            "{name: s, title: t, baseline: a, variants: [{name: a, label: x, overrides: {model: {hidden: 2}}}]}",
            ["variant a", "model.hidden", "did you mean 'hidden_size'"],
        ),
        (
            "{name: s, title: t, baseline: a, published: gone.yaml, variants: [{name: a, label: x}]}",
            ["gone.yaml", "cannot be read"],
        ),
    ],
)
def test_a_faulty_suite_names_file_and_key(cli: CommandLine, tmp_path: Path, text: str, said: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    refuse(cli, tmp_path, ["--all", "--suite", path, "--profile", "smoke"], *said)


def test_a_profile_that_is_not_there(cli: CommandLine, tmp_path: Path) -> None:
    refuse(cli, tmp_path, ["--all", "--profile", "gone.yaml"], "gone.yaml", "cannot be read")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--results", "x" * 300], ["--results 'xxx", "too long"]),
        (
            ["run", "--all", "--reports", "new/" + "x" * 300],
            ["--reports 'new/xxx", "longer than the file system allows"],
        ),
        (["compare", "--reference", "file/results"], ["--reference 'file/results'", "Not a directory"]),
        (["tune", "--dataset", "python-docs", "--study", "circle"], ["--study 'circle'", "symbolic links"]),
        (["tune", "--dataset", "python-docs", "--start-from", ""], ["--start-from ''", "names no path"]),
        (["status", "--data-dir", "dangling"], ["--data-dir 'dangling'", "a link to gone, which does not exist"]),
        (["data", "x" * 300], ["data set 'xxx", "too long"]),
        (["run", "--all", "--dataset", "circle"], ["data set 'circle'", "symbolic links"]),
        (["run", "--all", "--suite", "folder.yaml"], ["suite 'folder.yaml'", "this is a folder, where a file"]),
        (["ladder", "--profiles", "~no-such-user/x.yaml"], ["profile '~no-such-user/x.yaml'", "no home folder"]),
        (["tune", "--dataset", "python-docs", "--search", "file/x.yaml"], ["search 'file/x.yaml'", "Not a directory"]),
    ],
)
def test_paths_that_cannot_be(cli: CommandLine, tmp_path: Path, arguments: list[object], said: list[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    refuse(cli, tmp_path, arguments, *said)


def test_a_home_that_the_shell_left_alone(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    (tmp_path / "home").mkdir()
    corpus.rename(tmp_path / "home" / "text")
    options = [
        "--profile=~/../tiny.yaml",
        "--dataset=~/text",
        "--results=~/r",
        "--reports=~/p",
        "--backend=sequential",
        "--no-audit",
    ]
    done = cli("run", "--variants=full", *options, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("home/r/runs/*.parquet"))
    assert list(tmp_path.glob("home/p/tiny-text/index.html"))
    assert not (tmp_path / "~").exists()


def test_a_name_that_is_long_but_allowed(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    long = corpus.rename(tmp_path / ("x" * 255))
    done = cli("run", "--variants=full", "--profile", profile, "--dataset", long, "--backend=sequential", "--no-audit")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("reports/tiny-xxx*/index.html"))


def test_a_missing_split(cli: CommandLine, tmp_path: Path, corpus: Path) -> None:
    (corpus / "valid.txt").unlink()
    refuse(cli, tmp_path, ["--all", "--dataset", corpus], "no file for the valid split", str(corpus))


def test_two_folders_of_one_name(cli: CommandLine, tmp_path: Path, corpus: Path) -> None:
    other = write_corpus(tmp_path / "other" / corpus.name)
    refuse(cli, tmp_path, ["--all", "--dataset", corpus, "--dataset", other], str(corpus), str(other), "own-text")


def test_an_empty_split(cli: CommandLine, tmp_path: Path, corpus: Path) -> None:
    (corpus / "test.txt").write_text("\n \n", encoding="utf-8")
    refuse(cli, tmp_path, ["--all", "--dataset", corpus], "test.txt", "empty")


def test_an_undecodable_split(cli: CommandLine, tmp_path: Path, corpus: Path) -> None:
    (corpus / "train.txt").write_bytes(b"caf\xe9 au lait\n")
    refuse(cli, tmp_path, ["--all", "--dataset", corpus], "train.txt", "not UTF-8", "byte 3")


def test_a_corpus_shorter_than_a_batch(cli: CommandLine, tmp_path: Path, profile: Path) -> None:
    short = write_corpus(tmp_path / "short", train_lines=1)
    refuse(cli, tmp_path, ["--all", "--dataset", short, "--profile", profile], "train split", "training.batch_size")


def test_a_published_corpus_that_was_changed(cli: CommandLine, tmp_path: Path, corpus: Path) -> None:
    corpus.rename(tmp_path / "ptb")
    refuse(
        cli,
        tmp_path,
        ["--all", "--dataset", "ptb", "--data-dir", tmp_path],
        "train.txt: not the published train split of ptb",
        "expected sha256 fcea919f",
    )


def test_a_data_folder_without_the_corpus_downloads_nothing(cli: CommandLine, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(cli, tmp_path, ["--all", "--dataset", "ptb", "--data-dir", empty], "not in the data folder", str(empty))
    refuse(cli, tmp_path, ["data", "wikitext-2"], "not in the data folder", AWD_DATA_DIR=str(empty))


def test_no_network(cli: CommandLine, tmp_path: Path) -> None:
    # a proxy that is not there: every request is refused at once, on any machine
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = cli("data", "ptb", AWD_CACHE_DIR=str(tmp_path / "cache"), no_proxy="", NO_PROXY="", **dead)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "--data-dir" in done.stderr
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_results_folder_that_cannot_be_written(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    # a file where a folder should be: refused for every user, root included
    (tmp_path / "occupied").write_text("", encoding="utf-8")
    arguments = ["--all", "--profile", profile, "--dataset", corpus, "--results", tmp_path / "occupied" / "results"]
    refuse(cli, tmp_path, arguments, "occupied", "Not a directory")


def test_copied_shards_change_nothing(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    options = ["--profile", profile, "--dataset", corpus, "--variants", "full,no-weight-drop"]
    assert cli("run", *options, "--no-audit", "--no-report", "--backend", "sequential").returncode == 0
    before = {command: cli(command, *options).stdout for command in ("status", "compare")}
    copies = []
    for path in [*tmp_path.glob("results/runs/*"), *tmp_path.glob("results/epochs/*")]:
        copies.append(path.with_name(f"{path.stem}.sync-conflict-20261127-101010-ABCDEFG.parquet"))
        copies[-1].write_bytes(path.read_bytes())
    for command, printed in before.items():
        done = cli(command, *options)
        assert (done.returncode, done.stdout) == (0, printed)
        assert all(str(path.relative_to(tmp_path)) in done.stderr for path in copies if path.parent.name == "runs")
    assert "2 runs, 0 to train" in cli("run", *options, "--dry-run").stdout


def test_a_damaged_shard_is_named(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    runs = tmp_path / "results" / "runs"
    runs.mkdir(parents=True)
    (runs / "abc.parquet").write_bytes(b"PAR1 torn")
    # `status` shows the others: tests/ablations/cli/test_status.py
    for arguments in (["--all"], ["report"], ["compare"]):
        refuse(cli, tmp_path, [*arguments, "--profile", profile, "--dataset", corpus], "abc.parquet", "delete it")
