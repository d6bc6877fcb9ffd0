"""What the options mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.experiment.selection import dataset_name, parse_seeds, select
from awd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (1, 2, 3)), ("1,2,5", (1, 2, 5)), ("1000,", (1000,)), ("0,1", (0, 1)), ("2,2", (2,))]
)
def test_seeds_are_a_count_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "x", "1,x", "1.5", "-1,2", "1000", "99999999999", f"{2**63},"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        parse_seeds(text)


def test_data_sets_may_stand_in_one_option() -> None:
    assert select("table5", "paper", ["ptb,wikitext-2"]).datasets == ("ptb", "wikitext-2")
    assert select("table5", "paper", ["ptb", "ptb"]).datasets == ("ptb",)
    assert select("table5", "paper").datasets == ("ptb", "wikitext-2")


def test_a_folder_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my,text").mkdir()
    assert select("table5", "paper", [str(tmp_path / "my,text")]).datasets == (str(tmp_path / "my,text"),)
    assert dataset_name(str(tmp_path / "my,text")) == "my,text"
    monkeypatch.chdir(tmp_path / "my,text")
    assert dataset_name(".") == "my,text"
    assert dataset_name("ptb") == "ptb"
