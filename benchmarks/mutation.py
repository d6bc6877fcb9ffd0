"""Do the tests notice? Faults of one line each are planted in a copy of the code, one at a time, and its tests run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.paths import folder_option
from awd.errors import InputError
from awd.files import write_text
from awd.paths import user_path
from benchmarks.command import make_app, run, say

ROOT = Path(__file__).resolve().parents[1]
FAULTS = Path(__file__).with_name("faults.yaml")
RESULT = Path(__file__).with_name("results") / "mutation.md"
COPIED = ("ablations", "awd", "benchmarks", "results", "tests", "pyproject.toml", "README.md", "run_ablations.py")
LONGEST = 600  # seconds of one file of tests; a fault that makes it longer is caught

app = make_app("a fault was not caught")


@dataclass(frozen=True)
class Fault:
    """One line, and what it becomes.

    Attributes:
        file: it stands in, from the root of the project.
        line: its number.
        old: what stands there.
        new: what is planted.
        tests: files and folders of tests, tried in this order.
    """

    file: str
    line: int
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The test that noticed a fault, or ``None``, and the seconds until then."""

    fault: Fault
    caught_by: str | None
    seconds: float


@app.command()
def main(
    tree: Annotated[Path, folder_option("--tree", help="The project whose tests are tried.")] = ROOT,
    out: Annotated[Path, typer.Option(help="Where the table is written.")] = RESULT,
    only: Annotated[str, typer.Option(help="Plant only in files whose path contains this.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Faults tried at a time.")] = 2,
) -> None:
    """Plant every fault of faults.yaml and say which test caught it. Exit code 1 if one was not caught.

    **Example**: `python -m benchmarks.mutation --only awd/optim`
    """
    out = user_path(out, "--out", folder=False)
    faults = [fault for fault in read_faults(FAULTS, tree) if only in fault.file]
    if not faults:
        raise InputError(f"{FAULTS}: no fault in a file whose path contains {only!r}")
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda fault: plant(fault, tree), faults):
            outcomes.append(outcome)
            say(f"[{len(outcomes)}/{len(faults)}] {outcome.fault.file}:{outcome.fault.line}: {outcome.caught_by}")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
    )
    page = "\n".join(table(outcomes, commit.stdout.strip())) + "\n"
    write_text(out, page)
    print(page)
    if any(outcome.caught_by is None for outcome in outcomes):
        raise typer.Exit(1)


def read_faults(path: Path, tree: Path) -> Iterator[Fault]:
    """The faults of a file, found in a project.

    Raises:
        InputError: what is to be replaced does not stand there once; names file and text.
    """
    import yaml

    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        text = (tree / entry["file"]).read_text(encoding="utf-8")
        for old, new in entry["faults"]:
            if text.count(old) != 1:
                raise InputError(f"{path}: {entry['file']}: {old!r} stands there {text.count(old)} times, not once")
            line = text[: text.index(old)].count("\n") + 1
            yield Fault(entry["file"], line, old, new, tuple(entry["tests"]))


def plant(fault: Fault, tree: Path) -> Outcome:
    """Run the tests of a copy of the project that has the fault."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            _copy(tree / name, copy / name)
        changed = copy / fault.file
        write_text(changed, changed.read_text(encoding="utf-8").replace(fault.old, fault.new))
        caught = next(filter(None, (_failing(copy, tests) for tests in fault.tests)), None)
    return Outcome(fault, caught, time.perf_counter() - started)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _failing(copy: Path, tests: str) -> str | None:
    """The first test that fails; ``None`` if all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        process = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{tests} (takes longer than {LONGEST} s)"
    if process.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", process.stdout, re.MULTILINE)
    return found[1] if found else f"{tests} (exit code {process.returncode})"


def table(outcomes: list[Outcome], commit: str) -> Iterator[str]:
    """The outcomes as lines of markdown."""
    caught = sum(outcome.caught_by is not None for outcome in outcomes)
    yield f"{caught} of {len(outcomes)} planted faults are caught by a quick test (commit {commit})."
    yield ""
    yield "| file | what stands there | what is planted | caught by |"
    yield "|---|---|---|---|"
    for outcome in outcomes:
        fault = outcome.fault
        cells = [fault.file, _code(fault.old), _code(fault.new), outcome.caught_by or "**no test**"]
        yield f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    return f"`` {' '.join(text.split()) or ' '} ``".replace("|", "\\|")


if __name__ == "__main__":
    run(app)
