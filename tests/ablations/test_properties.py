"""Any YAML, any ``--set`` and any text is either used or refused in one clear message."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ablations.experiment.plan import Corpus, make_plan, parse_settings, resolve
from ablations.experiment.profile import Profile, load_profile
from ablations.experiment.suite import HERE, Published, Suite, load_suite, named_files
from ablations.experiment.yaml_files import load_yaml, parse_yaml
from awd.config import Config, config_from_dict, config_to_dict, override
from awd.corpus import load_corpus
from awd.corpus.text import encode
from awd.corpus.usage import examine
from awd.errors import ConfigError, CorpusError
from awd.trainer import Trainer
from tests.awd.strategies import FIELDS, bounded, legal_values, texts

SUITE, SMOKE = load_suite("table5"), load_profile("smoke")
SUITE_TEXT = named_files("suites")["table5"].read_text(encoding="utf-8")
PROFILE_TEXT = named_files("profiles")["smoke"].read_text(encoding="utf-8")
PUBLISHED_TEXT = (HERE / "paper_table5.yaml").read_text(encoding="utf-8")

# what YAML's grammar, its tags and PyYAML's own conversions may trip over
_SNIPPETS = re.findall(
    r"\S+",
    """
    a b a:1 : - ? | > & &a *a << , [ ] { } # % @ ` ' " ! ~ = --- ... {a: {[a]: \\ 1 -1 0 1.5 1e5 1e-6 .inf .nan 0b_ 0x_
    0o9 1_000 1:99 190:20:30.15 2001-01-01 2001-99-99 2001-01-01T99:99:99 true no null !!int !!float !!bool !!null !!str
    !!seq !!map !!set !!omap !!pairs !!binary !!timestamp !!python/none !<tag:yaml.org,2002:int> "\\ud800" "\\U00110000"
    "\\UFFFFFFFF" "\\x0" "\\0" %YAML %TAG model hidden_size full
    """,
)
_PIECES = [*_SNIPPETS, "\u2028", "\x85", "\ufeff", "\x00", " ", "  ", "\n", "\n  ", "\t", ": ", "? ", "- "]
yaml_texts = st.text(max_size=40) | st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)


def blames(error: Exception, *origins: str) -> None:
    """The message begins with what is to blame, and is not without end."""
    assert str(error).startswith(origins)
    assert len(str(error)) < 20_000


class TestYaml:
    @bounded(400)
    @given(text=yaml_texts)
    @example("? [a]\n: b")
    @example("!!map [1]")
    @example("!!set [1]")
    @example("2001-99-99")
    @example("0b_")
    @example("!!int big")
    @example("!!bool maybe")
    @example("!!timestamp now")
    @example("9" * 5000)
    @example('"\\U00110000"')
    @example('"\\UFFFFFFFF"')
    @example("[" * 3000)
    @example("&a {a: *a}")
    def test_of_any_kind_is_values_or_refused(self, text: str) -> None:
        try:
            parse_yaml(text, "drawn.yaml")
        except ConfigError as error:
            blames(error, "drawn.yaml")

    @pytest.mark.parametrize("text", ["a: 1\nb: !!float x", "a: 1\nb: !!bool maybe", "a: 1\nb: !!int 0x"])
    def test_that_stands_for_no_value_is_told_with_its_line(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r"drawn.yaml, line 2: '\S+' is no (float|bool|int)"):
            parse_yaml(text, "drawn.yaml")

    def test_a_number_and_its_text_are_two_keys(self) -> None:
        assert parse_yaml("{1: a, b: 1}", "here") == {1: "a", "b": 1}

    @bounded(100)
    @given(values=legal_values)
    def test_gives_a_legal_configuration_back(self, values: dict[str, Any]) -> None:
        config = config_from_dict(values, "drawn")
        text = yaml.safe_dump(config_to_dict(config))
        assert config_from_dict(parse_yaml(text, "YAML"), "YAML") == config


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A file of ours with a few pieces cut out or put in."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from([0, 0, 1, 5, 40]))
        piece = draw(st.sampled_from([*_PIECES, ""]) | st.text(max_size=3))
        text = text[:start] + piece + text[start + length :]
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


class TestFiles:
    def write(self, folder: Path, text: str) -> Path:
        path = folder / "drawn.yaml"
        # what no file can hold as UTF-8 is a file that is not UTF-8
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return path

    @bounded(80)
    @given(text=damaged(SUITE_TEXT))
    def test_a_damaged_suite_is_planned_or_refused(self, folder: Path, text: str) -> None:
        path = self.write(folder, text)
        try:
            suite = load_suite(str(path))
            plan = make_plan(suite, SMOKE, [Corpus("ptb", "ptb", "")])
        except ConfigError as error:
            blames(error, str(path), "suite ")
        else:
            assert all(isinstance(spec.config, Config) and spec.run_id for spec in plan)

    @bounded(80)
    @given(text=damaged(PROFILE_TEXT))
    def test_a_damaged_profile_is_planned_or_refused(self, folder: Path, text: str) -> None:
        path = self.write(folder, text)
        try:
            profile = load_profile(str(path))
            plan = make_plan(SUITE, profile, [Corpus("ptb", "ptb", "")])
        except ConfigError as error:
            blames(error, str(path), "profile ")
        else:
            assert all(isinstance(spec.config, Config) and spec.run_id for spec in plan)

    @bounded(60)
    @given(text=damaged(PUBLISHED_TEXT))
    def test_a_damaged_table_is_read_or_refused(self, folder: Path, text: str) -> None:
        path = self.write(folder, text)
        try:
            load_yaml(path, Published)
        except ConfigError as error:
            blames(error, str(path))

    @bounded(60)
    @given(text=yaml_texts, schema=st.sampled_from([Suite, Profile, Published]))
    def test_of_any_content_are_refused(self, folder: Path, text: str, schema: type) -> None:
        path = self.write(folder, text)
        with pytest.raises(ConfigError) as caught:
            load_yaml(path, schema)
        assert str(caught.value).startswith(str(path))


_keys = st.sampled_from(FIELDS).map(".".join) | st.lists(st.sampled_from(["model", "a", "", " ", "1"])).map(".".join)
_assignments = st.text() | st.builds("{}{}{}".format, _keys, st.sampled_from(["=", " = ", "", "=="]), yaml_texts)


class TestSettings:
    @bounded(300)
    @given(assignments=st.lists(_assignments, max_size=3))
    @example(["model={1: 2}"])
    @example(['model={"\\ud800": 2}'])
    @example(["model=&a {model: *a}"])
    @example(["model.hidden_size=2001-99-99"])
    @example([f"optimizer.learning_rate=0x{'f' * 5000}"])
    @example([f"model.num_layers=[{'[3, 3], ' * 5000}]"])
    @example(["\udcff=\udcff"])
    def test_of_any_kind_are_a_configuration_or_refused(self, assignments: list[str]) -> None:
        try:
            config = resolve(SMOKE, SUITE, "ptb", SUITE.variant("full"), parse_settings(assignments))
        except ConfigError as error:
            blames(error, "--set")
        else:
            assert isinstance(config, Config)

    @bounded(150)
    @given(values=legal_values, fields=st.lists(st.sampled_from(FIELDS), unique=True))
    def test_that_are_legal_are_what_was_set(self, values: dict[str, Any], fields: list[tuple[str, str]]) -> None:
        assignments = [f"{section}.{key}={_as_yaml(values[section][key])}" for section, key in fields]
        config = config_to_dict(override(Config(), parse_settings(assignments), "--set"))
        assert all(config[section][key] == values[section][key] for section, key in fields)

    @pytest.mark.parametrize("key", ["hidden_size", "embedding_size"])
    @pytest.mark.parametrize("value", [10**6 + 1, 9_999_999_999, 10**20])
    def test_sizes_that_no_tensor_has_are_refused(self, key: str, value: int) -> None:
        with pytest.raises(ConfigError, match=rf"--set: model\.{key}: {value} .* less than or equal to 1000000"):
            override(Config(), parse_settings([f"model.{key}={value}"]), "--set")


def _as_yaml(value: object) -> str:
    return yaml.safe_dump(value).removesuffix("\n...\n").strip()


# the profile's own 4000 is more than these texts have
_cuts = st.sampled_from([None, None, None, None, 200, SMOKE.config["corpus"]["train_tokens"]])


def test_any_text_trains_or_is_refused() -> None:
    torch.set_num_threads(1)
    outcomes: Counter[str] = Counter()

    @bounded(150)
    @given(contents=texts(fewest=60, most=900), cut=_cuts, seed=st.integers(0, 2**31))
    def check(contents: dict[str, bytes], cut: int | None, seed: int) -> None:
        config = resolve(SMOKE, SUITE, "own", SUITE.variant("full"), {"corpus": {"train_tokens": cut}})
        with tempfile.TemporaryDirectory() as name:
            for split, content in contents.items():
                (Path(name) / f"{split}.txt").write_bytes(content)
            try:
                text = load_corpus(name)
                examine(text, config.corpus, config.training)
            except CorpusError as error:
                outcomes["refused"] += 1
                blames(error, str(Path(name)), Path(name).name, "the ", "corpus.train_tokens")
                return
        result = Trainer(config, encode(text, config.corpus), seed).run()
        assert math.isfinite(result.valid_ppl)
        assert math.isfinite(result.test_ppl)
        outcomes["trained"] += 1

    check()
    assert outcomes["trained"] >= 20
    assert outcomes["refused"] >= 1
