"""Which rungs a ladder has, and where they stand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ablations.analysis.collect import collect
from ablations.analysis.ladder import Ladder, ladder_around, ladder_datasets, ladder_profiles, require_rungs
from ablations.analysis.trend import fit_line
from ablations.experiment.paper import paper_tokens
from ablations.experiment.plan import RunSpec
from ablations.experiment.profile import Profile, load_profile
from ablations.experiment.selection import Selection, select
from ablations.storage.status import Status
from ablations.storage.store import Store
from awd.errors import ConfigError, InputError
from tests.ablations.reporting.ladders import PAPERS, PUBLISHED, SUITE, four_rungs, growing, ladder_of, record, rung

REFERENCE = Path(__file__).resolve().parents[3] / "results" / "reference"


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Profile], Ladder]:
    """Results with four rungs, their profiles, and the ladder; read only."""
    root = tmp_path_factory.mktemp("rungs")
    profiles = four_rungs(root)
    return root, profiles, ladder_of(root, profiles)


def test_rungs_stand_at_their_share_of_the_papers_tokens(four: tuple[Path, list[Profile], Ladder]) -> None:
    ladder = four[2]
    rungs = ladder.rungs.set_index(["dataset", "profile"])
    assert rungs.loc["ptb", "share"].to_dict() == pytest.approx(
        {"demo": 0.00044, "small": 0.0011, "long": 0.004, "medium": 0.03}, rel=1e-4
    )
    papers, theirs = paper_tokens("ptb"), paper_tokens("wikitext-2")
    assert papers is not None
    assert theirs is not None
    # the same text, or the same tokens, is less of a longer training
    for name in ("demo", "small"):
        assert rungs.loc[("wikitext-2", name), "share"] == pytest.approx(
            rungs.loc[("ptb", name), "share"] * papers / theirs
        )
    assert rungs["own_text"].to_dict() == {key: key[1] != "demo" for key in rungs.index}
    assert set(rungs.loc[(slice(None), "demo"), "text"]) == {"python-docs"}
    assert ladder.notes == ()


def test_the_numbers_are_those_of_each_report(four: tuple[Path, list[Profile], Ladder]) -> None:
    root, profiles, ladder = four
    for profile in profiles:
        frame = collect(Selection(SUITE, PUBLISHED, profile, profile.datasets), Store(root)).frame
        for row in frame[frame["variant"].ne("full")].to_dict("records"):
            points = ladder.points[ladder.points["text"].eq(row["dataset"]) & ladder.points["profile"].eq(profile.name)]
            for point in points[points["variant"].eq(row["variant"])].to_dict("records"):
                assert point["difference"] == row["valid_log_difference"]
                assert (point["low"], point["high"]) == (row["valid_log_low"], row["valid_log_high"])
    papers = ladder.rows.set_index(["dataset", "variant"])["published"]
    assert papers["ptb", "no-weight-drop"] == pytest.approx(math.log(71.1 / 60.0))
    assert papers["wikitext-2", "no-weight-drop"] == pytest.approx(math.log(78.4 / 68.6))


def test_the_line_goes_through_the_rungs_of_the_text_alone(four: tuple[Path, list[Profile], Ladder]) -> None:
    root, profiles, ladder = four
    assert set(ladder.rows["line_rungs"]) == {3}
    points = ladder.points[ladder.points["dataset"].eq("ptb") & ladder.points["variant"].eq("no-ntasgd")]
    own = points[points["profile"].ne("demo")]
    line = fit_line(*(own[name].tolist() for name in ("share", "difference", "variance", "pairs")))
    row = ladder.rows.set_index(["dataset", "variant"]).loc[("ptb", "no-ntasgd")]
    assert line is not None
    assert (row["at_full"], row["at_full_low"], row["at_full_high"]) == (line.at_full, line.low, line.high)
    two = ladder_of(root, profiles[:3])
    assert two.rows["at_full"].isna().all(), "demo's text is another, so that two rungs are left"


def test_a_profile_without_runs_is_left_out_with_a_note(tmp_path: Path) -> None:
    small, long = rung("small"), rung("long")
    record(tmp_path, small, 0.001, growing(0.1))
    ladder = ladder_of(tmp_path, [small, long])
    assert ladder.rungs[["dataset", "profile"]].to_numpy().tolist() == [["ptb", "small"]]
    assert ladder.notes == (
        "small is left out of WikiText-2: no finished run.",
        "long is left out of Penn Treebank and WikiText-2: no finished run.",
    )


def test_a_row_without_a_pair_is_left_out_of_its_rung_with_a_note(tmp_path: Path) -> None:
    small, grown = rung("small"), growing(0.2)
    record(tmp_path, small, 0.001, lambda spec: None if spec.variant == "no-ar-tar" else grown(spec))
    ladder = ladder_of(tmp_path, [small], ["ptb"])
    assert "no-ar-tar" not in set(ladder.points["variant"])
    assert len(ladder.points) == 7
    assert len(ladder.rows) == 8
    assert ladder.notes == ("small on Penn Treebank has no finished pair of: – AR/TAR.",)


def test_without_the_full_model_there_is_no_rung(tmp_path: Path) -> None:
    small = rung("small")
    grown = growing(0.2)
    record(tmp_path, small, 0.001, lambda spec: None if spec.variant == "full" else grown(spec))
    ladder = ladder_of(tmp_path, [small], ["ptb"])
    assert ladder.rungs.empty
    assert ladder.notes == ("small is left out of Penn Treebank: no finished run of AWD-LSTM (tied).",)
    record(tmp_path / "failed", small, 0.001, grown, status=Status.FAILED)
    assert ladder_of(tmp_path / "failed", [small], ["ptb"]).notes == (
        "small is left out of Penn Treebank: no finished run.",
    )


def test_nothing_to_show_is_one_clear_message(tmp_path: Path) -> None:
    small = rung("small")
    ladder = ladder_of(tmp_path, [small])
    with pytest.raises(
        InputError, match="no finished pair of runs of suite table5 on ptb, wikitext-2, profile small: "
    ):
        require_rungs(ladder, [small], PAPERS, tmp_path)


def test_a_row_that_is_the_same_in_every_seed_has_no_line(tmp_path: Path) -> None:
    profiles, grown = [rung(name) for name in ("small", "long", "medium")], growing(0.2)

    def effect(spec: RunSpec) -> float | None:
        return 0.0 if spec.variant == "no-finetuning" else grown(spec)

    for place, profile in enumerate(profiles):
        record(tmp_path, profile, 10.0 ** (place - 4), effect)
    rows = ladder_of(tmp_path, profiles, ["ptb"]).rows.set_index("variant")
    assert np.isnan(rows.loc["no-finetuning", "at_full"])
    assert rows["at_full"].drop("no-finetuning").notna().all()


def test_rungs_are_the_scaled_down_profiles_but_smoke() -> None:
    names = [profile.name for profile in ladder_profiles()]
    assert names[:2] == ["demo", "small"]
    assert not {"smoke", "paper"} & set(names)
    assert [profile.name for profile in ladder_profiles("paper, small")] == ["paper", "small"]


def test_unknown_names_are_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown profile 'smal'; did you mean 'small'"):
        ladder_profiles("demo,smal")
    with pytest.raises(ConfigError, match="no profile was named"):
        ladder_profiles(" ,")
    copy = tmp_path / "copy.yaml"
    copy.write_text((Path(load_profile.__code__.co_filename).parent / "profiles" / "demo.yaml").read_text())
    with pytest.raises(ConfigError, match="two profiles are called 'demo'"):
        ladder_profiles(f"demo,{copy}")
    assert ladder_datasets() == PAPERS
    assert ladder_datasets(["wikitext-2,ptb"]) == ["wikitext-2", "ptb"]
    with pytest.raises(ConfigError, match="unknown data set 'python-docs'"):
        ladder_datasets(["python-docs"])


@pytest.mark.parametrize("profile", ["demo", "small"])
def test_a_published_report_has_the_ladder_that_its_profile_is_a_rung_of(profile: str) -> None:
    store = Store(REFERENCE)
    data = collect(select("table5", profile), store)
    ladder = ladder_around(data, store)
    assert ladder is not None
    assert ladder.datasets == PAPERS
    for dataset in PAPERS:
        assert {"demo", "small"} <= set(ladder.rungs.loc[ladder.rungs["dataset"].eq(dataset), "profile"])


def test_a_row_that_fits_no_other_scale_leaves_the_report_without(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(REFERENCE)
    small = collect(select("table5", "small"), store)

    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("suite mine: variant wide: ...")

    monkeypatch.setattr("ablations.analysis.ladder.collect", refuse)
    assert ladder_around(small, store) is None


def test_other_reports_have_none(tmp_path: Path) -> None:
    store = Store(REFERENCE)
    small = collect(select("table5", "small"), store)
    assert ladder_around(small, Store(tmp_path)) is None, "no other rung"
    assert ladder_around(collect(select("table5", "smoke"), store), store) is None
    changed = collect(select("table5", "small", assignments=["model.hidden_size=9"]), store)
    assert ladder_around(changed, store) is None
