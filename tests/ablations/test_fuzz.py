"""Whatever people hand in is used or refused: names, labels, YAML, settings, paths and texts, through the command line.

Called in this process, since two thousand of their own would take an hour.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ablations.cli.app import main
from tests.ablations.conftest import write_corpus, write_profile
from tests.ablations.test_properties import PROFILE_TEXT, SUITE_TEXT, damaged, yaml_texts
from tests.awd.strategies import FIELDS, bounded, texts

pytestmark = pytest.mark.slow

DONE, NOT_ALL_DONE, REFUSED = 0, 1, 2

# markup of rich, emoji, LaTeX, HTML, markdown, matplotlib, YAML and shells; what has no glyph, or two
_PIECES = re.findall(
    r"\S+",
    r"""
    [/] [bold [/ref] [draft] :smile: \ $ $x_1$ { } % & # _ ^ ~ <b> </table> | * ` ' " ; : - -- = @ ! ?
    é 語 🙂 𝔸 no null 010 1e5 a full 0.2
    """,
)
_UNNAMED = [*", \t\n\r\0", "\x1b[31m", "\u200b", "\u202e", "\ufeff", "\ud800", ""]  # in no name
_good_names = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda between: between.join(pieces))
)
_names = st.one_of(
    _good_names,
    _good_names,
    _good_names,
    st.builds("{}{}{}".format, _good_names, st.sampled_from(_UNNAMED), _good_names),
) | st.text(max_size=20)
_PLACES = ["~", "~nobody", "..", ".", "/", "//", "x" * 300, "語" * 90, "file", "folder", "dangling", "circle", "new"]
_PLACES += ["own-text", "tiny.yaml", ".yaml", "/proc/self", "/dev/null", "[a]", " ", "-x", "\n", "a,b", "*", "\udce9"]
_paths = st.lists(st.sampled_from(_PLACES), max_size=5).flatmap(
    lambda parts: st.sampled_from(["", "/"]).map(lambda between: between.join(parts))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: a corpus, a profile, and odd things to point at."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_corpus(folder / "own-text")
    write_profile(folder / "tiny.yaml")
    (folder / "file").write_text("", encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to("gone")
    (folder / "circle").symlink_to("circle")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWD_DATA_DIR", raising=False)
        patch.setenv("AWD_CACHE_DIR", str(folder / "cache"))
        yield folder


def call(*arguments: object) -> tuple[int, str]:
    """The exit code of a command, and all that it printed; what it lets out is what a user would see as a traceback."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run_ablations.py", *map(str, arguments)])
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", printed)
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(printed.buffer, io.BytesIO)
    return int(ended.value.code or 0), printed.buffer.getvalue().decode()


def used_or_refused(*arguments: object) -> int:
    code, printed = call(*arguments)
    assert code in (DONE, NOT_ALL_DONE, REFUSED), printed
    assert "Traceback" not in printed
    assert len(printed) < 50_000
    return code


def suite_of(names: list[str], labels: list[str]) -> str:
    """A suite as YAML, every text quoted: JSON is YAML."""
    strengths = itertools.count(1)
    variants = [
        {"name": name, "label": label, "overrides": {"regularization": {"weight_dropout": next(strengths) / 100}}}
        for name, label in zip(names, labels, strict=False)
    ]
    return json.dumps({"name": names[-1], "title": labels[-1], "baseline": names[0], "variants": variants})


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


OPTIONS = ["--profile", "tiny.yaml", "--dataset", "own-text"]


def test_names_and_labels(folder: Path) -> None:
    outcomes: Counter[int] = Counter()

    @bounded(500)
    @given(names=st.lists(_names, min_size=1, max_size=3), labels=st.lists(_names, min_size=3, max_size=3))
    def check(names: list[str], labels: list[str]) -> None:
        path = write(folder / "names.yaml", suite_of(names, labels))
        code = used_or_refused("status", "--suite", path, *OPTIONS)
        if code != REFUSED:  # and then they can be asked for
            assert used_or_refused("status", "--suite", path, *OPTIONS, f"--variants={','.join(names)}") != REFUSED
        outcomes[code] += 1

    check()
    assert min(outcomes[NOT_ALL_DONE], outcomes[REFUSED]) > 100


@bounded(300)
@given(text=damaged(SUITE_TEXT))
def test_damaged_suites(folder: Path, text: str) -> None:
    used_or_refused("status", "--suite", write(folder / "suite.yaml", text), *OPTIONS)


@bounded(300)
@given(text=damaged(PROFILE_TEXT))
def test_damaged_profiles(folder: Path, text: str) -> None:
    used_or_refused("status", "--profile", write(folder / "profile.yaml", text), "--dataset", "own-text")


@bounded(300)
@given(field=st.sampled_from(FIELDS).map(".".join) | st.text(max_size=10), value=yaml_texts | _names)
def test_settings(folder: Path, field: str, value: str) -> None:
    used_or_refused("status", *OPTIONS, f"--set={field}={value}")


@bounded(400)
@given(
    option=st.sampled_from(["--results", "--data-dir", "--dataset", "--suite", "--profile", "--variants", "--seeds"]),
    path=_paths,
)
def test_paths_to_status(folder: Path, option: str, path: str) -> None:
    used_or_refused("status", *OPTIONS, f"{option}={path}")


@bounded(200)
@given(
    option=st.sampled_from(["--results", "--reports", "--reference", "--data-dir", "--dataset"]),
    command=st.sampled_from(["report", "compare", "ladder"]),
    path=_paths,
)
def test_paths_to_reports_of_nothing(folder: Path, option: str, command: str, path: str) -> None:
    assert used_or_refused(command, f"{option}={path}", "--results=folder") == REFUSED


@bounded(200)
@given(path=_paths)
@example("python-docs")
def test_paths_of_texts(folder: Path, path: str) -> None:
    used_or_refused("data", "--", path)


@bounded(300)
@given(contents=texts(fewest=0, most=300) | st.dictionaries(st.sampled_from(["train", "valid", "test"]), st.binary()))
def test_texts(folder: Path, contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for split, content in contents.items():
            (Path(name) / f"{split}.txt").write_bytes(content)
        used_or_refused("data", name)
        used_or_refused("status", "--profile", "tiny.yaml", "--dataset", name)


def test_names_and_labels_to_the_end(folder: Path) -> None:
    """Trained, audited, reported and compared: tables, figures and the page."""
    outcomes: Counter[int] = Counter()
    names = st.lists(_good_names, min_size=2, max_size=2, unique=True)

    @bounded(40)
    @given(names=names, labels=st.lists(_good_names | _names, min_size=2, max_size=2))
    def check(names: list[str], labels: list[str]) -> None:
        path = write(folder / "to-the-end.yaml", suite_of(names, labels))
        with tempfile.TemporaryDirectory(dir=folder) as results:
            places = ["--results", results, "--reports", f"{results}/reports"]
            code = used_or_refused(
                "run", "--all", "--suite", path, *OPTIONS, "--backend", "sequential", *places, "--set=training.epochs=1"
            )
        outcomes[code] += 1

    check()
    assert outcomes[DONE] >= 15
    assert not outcomes[NOT_ALL_DONE]
