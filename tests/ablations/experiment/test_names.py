"""Whatever has a name can be asked for by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.experiment.hypotheses import Hypotheses
from ablations.experiment.profile import Profile
from ablations.experiment.suite import Suite
from ablations.experiment.yaml_files import load_yaml
from ablations.tuning.search import Search
from awd.errors import ConfigError
from tests.ablations.conftest import CommandLine

FILES = {
    "suite": (Suite, "name: {}\ntitle: t\nbaseline: a\nvariants: [{{name: a, label: a}}]"),
    "variant": (Suite, "name: s\ntitle: t\nbaseline: a\nvariants: [{{name: a, label: a}}, {{name: {}, label: b}}]"),
    "profile": (Profile, "name: {}\ntitle: t\nscale: paper\ndatasets: [ptb]\nseeds: [1]"),
    "search": (Search, "name: {}\ntitle: t\nspace: {{model.hidden_size: {{low: 1, high: 2}}}}"),
    "hypothesis": (Hypotheses, "source: s\nhypotheses: [{{name: {}, says: b, rows: [a], more_than: 1}}]"),
}


def load(folder: Path, kind: str, name: str) -> object:
    schema, text = FILES[kind]
    path = folder / "mine.yaml"
    path.write_text(text.format(name), encoding="utf-8")
    return load_yaml(path, schema)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["''", "' a'", "'a '", "'a,b'", '"a\\nb"', '"a\\tb"', '"\\u200b"', "' '"])
def test_a_name_that_nobody_could_ask_for_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: .*name: .* is not possible: it should be a name"):
        load(tmp_path, kind, name)


@pytest.mark.parametrize("kind", sorted(set(FILES) - {"profile"}))
@pytest.mark.parametrize("name", ["full [/ref]", "ohne Dropout", "– dropout", "重み", "lr:100:x", "$x_1$", "no"])
def test_any_other_is_taken(tmp_path: Path, kind: str, name: str) -> None:
    load(tmp_path, kind, f"'{name}'")


def test_a_profile_names_a_folder(tmp_path: Path) -> None:
    for name in ("..", "a/b", "a b", "[a]", ".hidden"):
        with pytest.raises(ConfigError, match="letters, digits"):
            load(tmp_path, "profile", f"'{name}'")


@pytest.mark.parametrize("label", ["''", "' '", '"\\n"'])
def test_a_label_can_be_seen(tmp_path: Path, label: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: s\ntitle: t\nbaseline: a\nvariants: [{{name: a, label: {label}}}]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"variants\.entry 1\.label: .* it should be a text that can be seen"):
        load_yaml(path, Suite)


def test_what_is_taken_can_be_asked_for(cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = ["name: my suite", "title: t", "baseline: full (1.0)", "variants:"]
    lines += [f"  - {{name: '{name}', label: x}}" for name in ("full (1.0)", "b: c")]
    path.write_text("\n".join(lines), encoding="utf-8")
    options = ["--suite", path, "--profile", profile, "--dataset", corpus, "--dry-run"]
    done = cli("run", "--variants", " b: c , full (1.0)", *options)
    assert done.returncode == 0, done.stderr
    assert "2 runs" in done.stdout
