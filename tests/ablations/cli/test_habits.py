"""What one expects of a command line: how long it will take, a page that opens, options that complete themselves."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from ablations.execution.estimate import about
from ablations.execution.job import RunOptions
from ablations.execution.sizes import sizes
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection, select
from ablations.storage.store import Store
from tests.ablations.conftest import ROOT, CommandLine, environment, record

WHERE = (
    "from pathlib import Path; from ablations.cli.run import say_where; say_where(Path('a b/index.html'), opened=True)"
)


@pytest.fixture
def browser(tmp_path: Path) -> str:
    """A command that notes which page it was to open."""
    return shlex.join(["sh", "-c", f'echo "$1" >> {tmp_path}/opened', "browser", "%s"])


def test_report_opens_its_page_if_asked_to(
    cli: CommandLine, tmp_path: Path, profile: Path, corpus: Path, plan: list[RunSpec], browser: str
) -> None:
    for place, spec in enumerate(plan[:2]):
        record(Store(tmp_path / "results"), spec, "done", valid_ppl=9.0 + place, test_ppl=8.5, parameters=10)
    chosen = ["--profile", profile, "--dataset", corpus, "--variants", f"{plan[0].variant},{plan[1].variant}"]
    done = cli("report", *chosen, "--open", BROWSER=browser)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "reports" / "tiny-own-text" / "index.html"
    assert done.stderr.splitlines()[-1] == "page: reports/tiny-own-text/index.html"
    assert (tmp_path / "opened").read_text() == f"{page.as_uri()}\n"
    assert "tiny-own-text/index.html" in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_where_there_is_no_browser_it_says_so(tmp_path: Path) -> None:
    bare = environment(PYTHONPATH=str(ROOT), BROWSER="false", PATH="/nowhere", DISPLAY="", WAYLAND_DISPLAY="")
    done = subprocess.run([sys.executable, "-c", WHERE], cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "page: a b/index.html\nno browser could be opened here: open the page by hand\n"


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    """As typer's own script for bash asks for them, under the name of the installed command."""
    program = tmp_path / "awd-ablations"
    program.write_text("from ablations.cli.app import main\nmain()\n")
    asked = environment(PYTHONPATH=str(ROOT), HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    words = {"_AWD_ABLATIONS_COMPLETE": "complete_bash", "COMP_WORDS": "awd-ablations run --tens", "COMP_CWORD": "2"}
    found = subprocess.run([sys.executable, program], env={**asked, **words}, capture_output=True, text=True)
    assert found.stdout.split() == ["--tensorboard"]
    installed = subprocess.run(
        [sys.executable, program, "--install-completion", "bash"], env=asked, capture_output=True
    )
    assert installed.returncode == 0
    assert "_AWD_ABLATIONS_COMPLETE" in (tmp_path / ".bash_completions" / "awd-ablations.sh").read_text()


def test_before_the_first_run_it_says_about_how_long(selection: Selection, plan: list[RunSpec]) -> None:
    console = Console(file=io.StringIO())
    assert about(plan, sizes(plan, selection), RunOptions(2, "cpu"), console) == "", "over in a moment"
    demo = select("table5", "demo", variants="full", seeds="1", engine="torch", precision="fp32")
    runs = demo.plan(demo.corpora())
    told = about(runs, sizes(runs, demo), RunOptions(1, "cpu"), console)
    assert re.fullmatch(r"less than a minute|about \d+ (minutes|hours)", told), told
    assert about(runs, sizes(runs, demo), RunOptions(1, "cpu", backend="dask"), console) == ""
