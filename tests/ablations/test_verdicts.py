"""Claims hold in the numbers they were drawn from, and verdicts on ours err as rarely as they say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.suite import Suite, Variant, load_published, load_suite
from ablations.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED, Claim, Claims, judge, load_claims
from awd.errors import ConfigError

SUITE = load_suite("table5")
PUBLISHED = load_published(SUITE, "table5")
THREE = Suite("three", "three rows", "full", tuple(Variant(name, name) for name in ("full", "first", "second")))


def own_suite(folder: Path, claims: str) -> Path:
    (folder / "claims.yaml").write_text(claims, encoding="utf-8")
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
        claims: claims.yaml
        variants: [{name: full, label: a}, {name: first, label: b}, {name: second, label: c}]
        """,
        encoding="utf-8",
    )
    return path


def load(path: Path) -> Claims | None:
    suite = load_suite(str(path))
    return load_claims(suite, str(path), load_published(suite, str(path)))


def test_the_papers_claims_hold_in_its_own_36_numbers() -> None:
    claims = load_claims(SUITE, "table5", PUBLISHED)
    assert claims is not None
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
    named = {row for claim in claims.claims for row in claim.rows}
    assert named == {variant.name for variant in SUITE.variants} - {"full"}, "every row has its claim"


@pytest.mark.parametrize(
    ("claim", "said"),
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
def test_claims_that_cannot_be_are_refused(tmp_path: Path, claim: str, said: str) -> None:
    path = own_suite(tmp_path, f"source: me\nclaims: [{claim}]")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(tmp_path / "claims.yaml") in str(caught.value)
    assert said in str(caught.value)


def test_a_suite_without_claims_has_none() -> None:
    assert load_claims(THREE, "three", None) is None


def runs(**changes: list[float]) -> pd.DataFrame:
    """Runs whose log-perplexities are 4 for the full model plus these, a list a row with an entry a seed."""
    count = max(map(len, changes.values()))
    rows = [
        ("text", name, seed, "done", math.exp(4 + change), math.exp(4 + change))
        for name, values in {"full": [0.0] * count, **changes}.items()
        for seed, change in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "status", "valid_ppl", "test_ppl"])


def verdict(claim: Claim, frame: pd.DataFrame) -> pd.Series:
    found = judge(Claims("here", (claim,)), frame, THREE).set_index("split")
    assert found.loc["valid", "verdict"] == found.loc["test", "verdict"]
    return found.loc["valid"]


WORSE = Claim("worse", "the row is worse", ("first",), more_than=3)
NOT_MUCH = Claim("not much", "but not much", ("first",), less_than=3)
MOST = Claim("most", "the row is worst", ("first",), more_than_others_by=0)
BOTH = Claim("both", "both are worse", ("first", "second"), more_than=0)


def test_an_interval_on_one_side_decides() -> None:
    far, near = [0.10, 0.11, 0.12], [0.01, 0.011, 0.012]
    assert verdict(WORSE, runs(first=far))["verdict"] == SUPPORTED
    assert verdict(WORSE, runs(first=near))["verdict"] == CONTRADICTED
    assert verdict(NOT_MUCH, runs(first=far))["verdict"] == CONTRADICTED
    assert verdict(NOT_MUCH, runs(first=near))["verdict"] == SUPPORTED
    assert verdict(WORSE, runs(first=[0.0, 0.04, 0.10]))["verdict"] == UNDECIDED


def test_the_evidence_is_the_difference_and_its_interval() -> None:
    found = verdict(WORSE, runs(first=[0.10, 0.11, 0.12]))
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert found[["pairs", "row", "other", "bound"]].tolist() == [3, "first", "full", 0.03]
    assert found[["difference", "low", "high"]].tolist() == pytest.approx([0.11, 0.11 - half, 0.11 + half])
    turned = verdict(NOT_MUCH, runs(first=[0.10, 0.11, 0.12]))
    assert turned[["difference", "low", "high"]].tolist() == pytest.approx([0.11, 0.11 - half, 0.11 + half])


def test_one_seed_or_none_decides_nothing() -> None:
    assert verdict(WORSE, runs(first=[0.5]))["verdict"] == UNDECIDED
    none = verdict(WORSE, runs(second=[0.5, 0.6]))
    assert (none["verdict"], none["pairs"]) == (UNDECIDED, 0)
    assert pd.isna(none["seeds_needed"])


def test_unfinished_runs_do_not_count() -> None:
    frame = runs(first=[0.10, 0.11, 0.12])
    frame.loc[frame["variant"].eq("first") & frame["seed"].gt(0), "status"] = "paused"
    assert verdict(WORSE, frame)["pairs"] == 1


def test_rows_are_compared_with_each_other_seed_by_seed() -> None:
    together = [0.0, 0.1, 0.2]  # what seeds have in common falls away
    frame = runs(first=[0.02 + x for x in together], second=[0.01 + x - 0.001 * i for i, x in enumerate(together)])
    assert verdict(MOST, frame)["verdict"] == SUPPORTED
    assert verdict(BOTH, frame)["verdict"] == UNDECIDED


def test_all_must_hold_and_one_is_enough_against() -> None:
    good, bad, unclear = [0.05, 0.051, 0.052], [-0.05, -0.051, -0.052], [-0.01, 0.0, 0.02]
    assert verdict(BOTH, runs(first=good, second=good))["verdict"] == SUPPORTED
    assert verdict(BOTH, runs(first=good, second=unclear))["verdict"] == UNDECIDED
    against = verdict(BOTH, runs(first=unclear, second=bad))
    assert (against["verdict"], against["row"]) == (CONTRADICTED, "second"), "what speaks against it is shown"


def test_seeds_that_would_decide_are_counted_from_the_spread() -> None:
    found = verdict(WORSE, runs(first=[0.03 + x for x in (0.0, 0.01, 0.02)]))
    assert (found["verdict"], found["seeds_needed"]) == (UNDECIDED, 7), (
        "mean and sd are 0.01: as for t in test_statistics"
    )
    assert pd.isna(verdict(WORSE, runs(first=[0.10, 0.11, 0.12]))["seeds_needed"])


@pytest.mark.parametrize("seeds", [4])
@pytest.mark.parametrize(
    ("claim", "true"),
    [(WORSE, {"first": 0.03}), (MOST, {"first": 0.1, "second": 0.1}), (BOTH, {"first": 0.0, "second": 0.0})],
    ids=["one", "of two rows", "two at once"],
)
def test_verdicts_err_as_rarely_as_they_say(claim: Claim, true: dict[str, float], seeds: int) -> None:
    # at the very bound either verdict is an error, and 2.5% of each is what is promised
    draw, count = np.random.default_rng(11), 800
    frames = []
    for study in range(count):
        frame = runs(**{name: (value + 0.02 * draw.normal(size=seeds)).tolist() for name, value in true.items()})
        frames.append(frame.assign(dataset=f"study {study}"))
    found = judge(Claims("here", (claim,)), pd.concat(frames), THREE)
    shares = found.loc[found["split"].eq("valid"), "verdict"].value_counts(normalize=True)
    assert shares.get(SUPPORTED, 0.0) < 0.025 + 0.016
    assert 0.009 < shares.get(CONTRADICTED, 0.0) < 0.025 + 0.016
