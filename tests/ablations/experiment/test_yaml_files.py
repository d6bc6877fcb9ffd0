"""YAML as people write it, without YAML 1.1's surprises."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ablations.experiment.profile import Profile
from ablations.experiment.suite import Suite
from ablations.experiment.yaml_files import load_yaml, parse_yaml
from awd.errors import ConfigError
from tests.ablations.conftest import CommandLine
from tests.awd.strategies import bounded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1.2e-6", 1.2e-6),
        ("3E5", 3e5),
        ("-2e0", -2.0),
        (".5", 0.5),
        ("+5", 5),
        ("0o17", 15),
        ("0x1F", 31),
        ("2024-01-01", "2024-01-01"),
        ("[1, 1.5, null, ~, text, 1e, e5, y, n]", [1, 1.5, None, None, "text", "1e", "e5", "y", "n"]),
        ("['no', \"010\", '']", ["no", "010", ""]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text, "here") == value


@pytest.mark.parametrize("text", ["010", "-08", "0b11", "1_000", "1_0.5", "0xA_B", "12:30", "no", "Yes", "ON", "off"])
def test_what_two_versions_of_yaml_read_as_two_values_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(f"a: 1\nb: [x, {text}]\n", "here")
    assert str(caught.value).startswith(f"here, line 2: {text} is one thing in YAML 1.1 and another in YAML 1.2")
    assert f"quote it: '{text}'" in str(caught.value)
    assert parse_yaml(f"a: '{text}'", "here") == {"a": text}


_words = st.sampled_from(["yes", "No", "ON", "off", "true", "False", "null", "~", "y", "N", ".inf", "-.INF", ".nan"])
_numbers = st.text("0123456789+-_.:eExobaF", min_size=1, max_size=8).filter(lambda text: not text.endswith(":"))


@bounded(600)
@given(text=_words | _numbers)
def test_nothing_changes_its_value_unnoticed(text: str) -> None:
    try:
        now, before = parse_yaml(f"[{text}]", "here"), yaml.safe_load(f"[{text}]")
    except (ConfigError, yaml.YAMLError, ValueError):
        return
    (now,), (before,) = now, before
    same = now == before or (isinstance(now, float) and math.isnan(now) and math.isnan(before))
    # what PyYAML had as text, or as a date that no field takes
    assert same or isinstance(before, str | datetime.date), (now, before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n  b: 1\n  b: 2\n", "here, line 3: the key 'b' stands twice"),
        (
            "!!python/object/apply:os.getcwd []",
            "here, line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
        ),
        ("a: !!set {b}", "here, line 1: the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("a: 1\n---\nb: 2\n", "here, line 2: expected a single document"),
        ("a: 1\nb: @x", "here, line 2: while scanning for the next token, found character '@'"),
        ('a: "\\ud800"', "here, line 1: '\\ud800' is no character"),
        ('a: "x\\e[31m"', "here, line 1: '\\x1b' is no character"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        (
            Suite,
            "{name: true, title: t, baseline: a, variants: []}",
            "name: true is not text; if it is meant as text, quote",
        ),
        (
            Suite,
            "{name: s, title: t, baseline: a, variants: {a: {}}}",
            "variants: {'a': {}} is not a list, as in [a, b]",
        ),
        (
            Suite,
            "{name: s, title: t, baseline: a, variants: [{name: a, label: a, overrides: }]}",
            "variants.entry 1.overrides: null (or nothing) is not a mapping of keys to values",
        ),
        (
            Suite,
            "{name: s, title: t, baseline: a, variants: [{name: a, label: a}, {name: b, labl: b}]}",
            "variants.entry 2.labl: unknown key 'labl'; did you mean 'label'? (allowed: name, label, overrides)",
        ),
        (
            Profile,
            "{name: p, title: t, scale: paper, datasets: ptb, seeds: [1]}",
            "datasets: 'ptb' is not a list, as in",
        ),
        (Profile, "{name: p, title: t, scale: paper, datasets: [ptb], seeds: []}", "seeds: [] is empty: at least 1"),
        (
            Profile,
            "{name: p, title: t, scale: paper, datasets: [ptb], seeds: ['1']}",
            "seeds.entry 1: '1' is not a whole",
        ),
    ],
)
def test_faults_are_told_in_the_users_words(tmp_path: Path, schema: type, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, schema)
    assert f"{path}: {said}" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("None", "True", "tuple", "String"))


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--set", "training.epochs=010", ["--set 'training.epochs=010', line 1: 010 is one thing"]),
        ("--profile", "{name: p, title: t, scale: paper, datasets: [ptb],\nseeds: [010]}", ["mine.yaml, line 2: 010"]),
        ("--suite", "{name: s, title: t, baseline: no, variants: [{name: no, label: x}]}", ["line 1: no is one thing"]),
        (
            "--search",
            "{name: s, title: t, space: {model.hidden_size: {low: 1_0, high: 2}}}",
            ["line 1: 1_0 is one thing"],
        ),
    ],
)
def test_one_reader_reads_them_all(cli: CommandLine, tmp_path: Path, option: str, text: str, said: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    command = ["tune", "--dataset", "python-docs"] if option == "--search" else ["run", "--all", "--dry-run"]
    done = cli(*command, option, text if option == "--set" else path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(words in done.stderr for words in said)
