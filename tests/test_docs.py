"""What the documents name exists, and what they show runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.audit import audit_config
from tests.ablations.audit.conftest import small_config
from tests.awd.tiny import tiny_corpus

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_TEST = re.compile(r"\btests/[\w/]+\.py(?:::\w+)*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def named_tests() -> list[str]:
    return sorted({name for document in DOCUMENTS for name in _TEST.findall(document.read_text(encoding="utf-8"))})


def functions_of(node: ast.AST, prefix: str = "") -> set[str]:
    """Functions of a module or class, those of its classes as ``Class::function``."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            found.add(prefix + child.name)
        if isinstance(child, ast.ClassDef):
            found |= {prefix + child.name} | functions_of(child, f"{prefix}{child.name}::")
    return found


@pytest.mark.parametrize("name", named_tests())
def test_a_test_that_a_document_names_exists(name: str) -> None:
    file, _, function = name.partition("::")
    assert (ROOT / file).is_file()
    assert not function or function in functions_of(ast.parse((ROOT / file).read_text(encoding="utf-8")))


def test_fidelity_names_a_test_for_every_point() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    points = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(points) > 20
    mechanisms = {cell.mechanism for cell in audit_config(small_config(), tiny_corpus())}
    for point in points:
        assert _TEST.search(point), point.splitlines()[0]
        audited = re.search(r"^- Audit: (.*)$", point, flags=re.MULTILINE)
        assert audited, point.splitlines()[0]
        if not audited[1].startswith(("none; ", "every mechanism")):
            assert set(audited[1].split(", ")) <= mechanisms, point.splitlines()[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_relative_link_leads_to_a_file(document: Path) -> None:
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    relative = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in relative if not (document.parent / link).exists()]
    assert not missing


def test_the_library_in_the_readme_runs(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- library -->\s*```python\n(.*?)```", readme, flags=re.DOTALL)
    assert block
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{block[1]}"],
        cwd=tmp_path,
        # two threads on a busy machine wait for each other
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    valid_ppl, test_ppl = map(float, done.stdout.splitlines()[-1].split())
    assert 1 < valid_ppl < 10_000
    assert 1 < test_ppl < 10_000
