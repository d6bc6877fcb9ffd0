"""Hypotheses are data: read strictly, and true of the numbers they were drawn from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ablations.experiment.hypotheses import Hypotheses, load_hypotheses
from ablations.experiment.suite import Suite, Variant, load_published, load_suite
from awd.errors import ConfigError

SUITE = load_suite("table5")
PUBLISHED = load_published(SUITE, "table5")
THREE = Suite("three", "three rows", "full", tuple(Variant(name, name) for name in ("full", "first", "second")))


def own_suite(folder: Path, hypotheses: str) -> Path:
    (folder / "hypotheses.yaml").write_text(hypotheses, encoding="utf-8")
    (folder / "numbers.yaml").write_text(
        """
        source: somebody
        rows:
          full: {text: {valid: 100.0, test: 100.0}}
          first: {text: {valid: 110.0, test: 111.0}}
          second: {text: {valid: 102.0, test: 99.0}}
        """,
        encoding="utf-8",
    )
    path = folder / "own.yaml"
    path.write_text(
        """
        name: own
        title: own
        baseline: full
        published: numbers.yaml
        hypotheses: hypotheses.yaml
        variants: [{name: full, label: a}, {name: first, label: b}, {name: second, label: c}]
        """,
        encoding="utf-8",
    )
    return path


def load(path: Path) -> Hypotheses | None:
    suite = load_suite(str(path))
    return load_hypotheses(suite, str(path), load_published(suite, str(path)))


def test_the_papers_hypotheses_hold_in_its_own_36_numbers() -> None:
    hypotheses = load_hypotheses(SUITE, "table5", PUBLISHED)
    assert hypotheses is not None
    assert PUBLISHED is not None
    for column in ("ptb", "wikitext-2"):
        for split in ("valid", "test"):
            change = {
                name: 100 * math.log(getattr(row[column], split) / getattr(PUBLISHED.rows["full"][column], split))
                for name, row in PUBLISHED.rows.items()
            }
            largest = max(change, key=change.__getitem__)
            assert largest == "no-weight-drop"
            assert change[largest] > 3 + sorted(change.values())[-2]
            assert min(change["no-embedding-dropout"], change["no-ntasgd"]) > 3
            assert all(0 < value < 15 for name, value in change.items() if name not in ("full", "no-weight-drop"))
    named = {row for hypothesis in hypotheses.hypotheses for row in hypothesis.rows}
    assert named == {variant.name for variant in SUITE.variants} - {"full"}, "every row has its hypothesis"


@pytest.mark.parametrize(
    ("hypothesis", "said"),
    [
        ("{name: a, says: b, rows: [second], more_than: 0}", "a: does not hold in the published numbers, text test"),
        ("{name: a, says: b, rows: [first], less_than: 10}", "are +10.44 apart"),
        ("{name: a, says: b, rows: [first], more_than_others_by: 8}", "Δ(first) and Δ(second) are +7.55 apart"),
        ("{name: a, says: b, rows: [frist], more_than: 0}", "a: rows: unknown variant 'frist'; did you mean 'first'?"),
        ("{name: a, says: b, rows: [full], more_than: 0}", "a: rows: unknown variant 'full'"),
        ("{name: a, says: b, rows: [first]}", "a: say more_than, less_than or more_than_others_by"),
        ("{name: a, says: b, rows: [first], more_then: 0}", "more_then"),
        ("{name: a, says: b, rows: []}", "rows"),
    ],
)
def test_hypotheses_that_cannot_be_are_refused(tmp_path: Path, hypothesis: str, said: str) -> None:
    path = own_suite(tmp_path, f"source: me\nhypotheses: [{hypothesis}]")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(tmp_path / "hypotheses.yaml") in str(caught.value)
    assert said in str(caught.value)


def test_a_hypothesis_about_a_row_that_nobody_published_is_refused(tmp_path: Path) -> None:
    path = own_suite(tmp_path, "source: me\nhypotheses: [{name: a, says: b, rows: [first], more_than_others_by: 0}]")
    numbers = tmp_path / "numbers.yaml"
    rows = [line for line in numbers.read_text(encoding="utf-8").splitlines() if "second" not in line]
    numbers.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ConfigError, match="a: the published numbers have no row 'second' to try it on"):
        load(path)


def test_files_that_say_claims_are_read_still(tmp_path: Path) -> None:
    path = own_suite(tmp_path, "source: me\nclaims: [{name: a, says: b, rows: [first], more_than: 1}]")
    path.write_text(path.read_text(encoding="utf-8").replace("hypotheses:", "claims:"), encoding="utf-8")
    found = load(path)
    assert found is not None
    assert [hypothesis.name for hypothesis in found.hypotheses] == ["a"]
    path.write_text(path.read_text(encoding="utf-8") + "\n        hypotheses: hypotheses.yaml\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.yaml: claims: "):
        load(path)


def test_a_suite_without_hypotheses_has_none() -> None:
    assert load_hypotheses(THREE, "three", None) is None
