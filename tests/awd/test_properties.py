"""What holds for every legal configuration and every text, and that nothing else is let in."""

from __future__ import annotations

import copy
import difflib
import io
import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from awd import engine as engine_module
from awd.config import Config, CorpusConfig, WindowConfig, config_from_dict, config_to_dict, override
from awd.corpus.batching import batchify, predicted_tokens
from awd.corpus.text import EOS, SPLITS, UNK, Text, encode, make_text
from awd.engine import Engine
from awd.errors import ConfigError, CorpusError
from awd.evaluation import evaluate
from awd.model import AWDLSTM
from awd.optim import Stepper
from awd.trainer import Trainer
from awd.windows import windows
from tests.awd.engines import ENGINES, label
from tests.awd.strategies import CHOICES, FIELDS, LEGAL, MOST, bounded, legal_values, texts, trainable_values
from tests.awd.tiny import tiny_corpus

CORPUS = tiny_corpus()


class TestLegalConfigurations:
    @bounded(25)
    @given(values=trainable_values(), engine=st.sampled_from(ENGINES))
    def test_train_without_nan_and_their_weights_come_back_to_the_bit(
        self, values: dict[str, Any], engine: Engine
    ) -> None:
        config = config_from_dict(values, "drawn")
        event(f"{config.optimizer.method}, {label(engine)}")
        corpus = CORPUS
        if config.corpus.train_tokens is not None:
            corpus = type(corpus)(corpus.words, corpus.train[: config.corpus.train_tokens], corpus.valid, corpus.test)
        steps = Counter[str]()
        take = Stepper.step

        def counted(stepper: Stepper, loss: torch.Tensor, rate_scale: float = 1.0) -> None:
            steps["taken"] += 1
            take(stepper, loss, rate_scale)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stepper, "step", counted)
            patch.setattr(engine_module, "_NARROWEST", {})
            patch.setattr(engine_module, "_FEWEST_LOGITS", 0)
            trainer = Trainer(config, corpus, seed=1, engine=engine)  # raises DivergedError where a loss is not finite
            result = trainer.run()
        assert steps["taken"] >= 2
        assert math.isfinite(result.valid_ppl)
        assert math.isfinite(result.test_ppl)
        assert all(parameter.isfinite().all() for parameter in result.model.parameters())
        saved_and_loaded = self.through_a_file(result.model, config)
        expected = evaluate(result.model, trainer.test_data)
        assert evaluate(saved_and_loaded, trainer.test_data) == expected
        assert evaluate(copy.deepcopy(result.model), trainer.test_data) == expected

    def through_a_file(self, model: AWDLSTM, config: Config) -> AWDLSTM:
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        loaded = AWDLSTM(len(CORPUS.words), config.model, config.regularization)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        assert (loaded.decoder.weight is loaded.embedding.weight) == config.model.tie_weights
        return loaded

    @bounded(150)
    @given(values=legal_values)
    def test_survive_as_plain_values_and_as_json(self, values: dict[str, Any]) -> None:
        config = config_from_dict(values, "drawn")
        plain = config_to_dict(config)
        assert plain == values
        assert config_from_dict(plain, "plain") == config
        assert config_from_dict(json.loads(json.dumps(plain)), "JSON") == config

    @bounded(50)
    @given(values=legal_values, part=st.sets(st.sampled_from(FIELDS)))
    def test_may_be_overridden_in_part(self, values: dict[str, Any], part: set[tuple[str, str]]) -> None:
        changes: dict[str, Any] = {}
        for section, key in part:
            changes.setdefault(section, {})[key] = values[section][key]
        changed = config_to_dict(override(Config(), changes, "drawn"))
        default = config_to_dict(Config())
        for section, key in FIELDS:
            source = values if (section, key) in part else default
            assert changed[section][key] == source[section][key]


def test_the_strategies_know_every_field() -> None:
    assert {section: set(keys) for section, keys in LEGAL.items()} == {
        section: set(keys) for section, keys in config_to_dict(Config()).items()
    }


WRONG_KIND = [math.nan, math.inf, -math.inf, "1", "", "big", [], [1], {}, {"a": 1}, {1, 2}, b"1", 1j, object]
BELOW_ZERO = [-1, -5e-324, -(10**400), -math.inf]
TOO_LARGE = [10**400, 1e300]
TOO_MANY = [MOST + 1, 2**63]
NOT_WHOLE = [0.5, 1.0, 1e18]


def wrong_values(section: str, key: str) -> list[Any]:
    """What a field must refuse."""
    none = [] if key in ("embedding_size", "clip_norm", "train_tokens", "valid_tokens") else [None]
    if (section, key) == ("finetuning", "learning_rate"):
        none = []
    wrong = WRONG_KIND + none
    if key in ("tie_weights", "variable"):
        return [*wrong, 0, 1, 0.0]
    if key in ("method", *CHOICES):
        return [*wrong, True, 1, "SGD", "nt_asgd", "\ud800"]
    wrong += [True, False, *BELOW_ZERO, *TOO_LARGE]
    if key.endswith("_dropout"):
        return [*wrong, 1, 1.0, 1.5, 0.9999999]
    if key == "short_probability":
        return [*wrong, 1.0000001]
    if key in ("learning_rate", "clip_norm"):
        return [*wrong, 0, 0.0]
    if key.endswith("_penalty") or key in ("weight_decay", "spread", "lambd", "alpha"):
        return wrong
    wrong += TOO_MANY
    may_be_zero = key in ("nonmonotone_interval", "average_from", "average_from_epoch") or (section, key) == (
        "finetuning",
        "epochs",
    )
    return [*wrong, *NOT_WHOLE] + ([] if may_be_zero else [0])


def refused(values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values, "drawn")
    message = str(caught.value)
    assert message.startswith("drawn: ")
    assert len(message) < 2000
    return message


class TestIllegalConfigurations:
    @pytest.mark.parametrize(("section", "key"), FIELDS)
    @bounded(4)
    @given(values=legal_values)
    def test_with_one_wrong_value_are_refused_by_its_key(self, section: str, key: str, values: dict[str, Any]) -> None:
        for wrong in wrong_values(section, key):
            message = refused(values | {section: values[section] | {key: wrong}})
            assert message.startswith(f"drawn: {section}.{key}: ")
            assert "\n" not in message

    @bounded(150)
    @given(values=legal_values, field=st.sampled_from(FIELDS), data=st.data())
    def test_with_one_misspelt_key_are_refused_with_the_right_one(
        self, values: dict[str, Any], field: tuple[str, str], data: st.DataObject
    ) -> None:
        section, key = field
        at = data.draw(st.integers(0, len(key) - 1), label="at")
        letter = data.draw(st.sampled_from(["", "x", "_", "-", " "]), label="letter")
        misspelt = key[:at] + letter + key[at + 1 :]
        others = values[section]
        assume(misspelt not in others)
        kept = {name: value for name, value in others.items() if name != key}
        message = refused(values | {section: kept | {misspelt: others[key]}})
        assert message.startswith(f"drawn: {section}.{misspelt}: unknown key {misspelt!r}")
        nearest = difflib.get_close_matches(misspelt, list(others), n=1, cutoff=0.5)
        assert all(f"did you mean {name!r}?" in message for name in nearest)

    @bounded(150)
    @given(
        values=legal_values,
        section=st.sampled_from([None, *LEGAL]),
        key=st.text() | st.integers() | st.none() | st.booleans() | st.binary() | st.floats() | st.just("\ud800"),
    )
    @example(values={"model": {}}, section="model", key=1)
    @example(values={"model": {}}, section=None, key="\ud800")
    def test_with_an_unknown_key_of_any_kind_are_refused(
        self, values: dict[str, Any], section: str | None, key: Any
    ) -> None:
        assume(key not in (values if section is None else values[section]))
        if section is None:
            message = refused(values | {key: {}})
        else:
            message = refused(values | {section: values[section] | {key: 1}})
            assert message.startswith(f"drawn: {section}")
        if isinstance(key, str) and key.isprintable():
            assert repr(key) in message

    @bounded(100)
    @given(
        values=legal_values,
        section=st.sampled_from(list(LEGAL)),
        wrong=st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.booleans() | st.dates(),
    )
    def test_with_a_section_that_is_no_mapping_are_refused(
        self, values: dict[str, Any], section: str, wrong: Any
    ) -> None:
        assert refused(values | {section: wrong}).startswith(f"drawn: {section}: ")

    @given(values=st.none() | st.integers() | st.text() | st.lists(st.text()))
    @bounded(30)
    def test_that_are_no_mapping_at_all_are_refused(self, values: Any) -> None:
        assert refused(values).startswith("drawn: (top level): ")


window_configs = st.builds(lambda values: WindowConfig(**values), st.fixed_dictionaries(LEGAL["windows"]))


@bounded(300)
@given(total=st.integers(0, 600), config=window_configs, seed=st.integers(0, 2**63 - 1))
def test_windows_cover_every_target_once_whatever_their_lengths(total: int, config: WindowConfig, seed: int) -> None:
    cut = list(windows(total, config, torch.Generator().manual_seed(seed)))
    targets = [window.start + 1 + step for window in cut for step in range(window.length)]
    assert targets == list(range(1, total))
    shortest = min(config.minimum, total) if config.variable else 1
    assert all(window.length >= shortest for window in cut[:-1])
    assert all(math.isfinite(window.rate_scale) and window.rate_scale > 0 for window in cut)


def read(contents: dict[str, bytes]) -> Text:
    return make_text("drawn", contents, dict.fromkeys(contents, "drawn"))


@bounded(100)
@given(contents=texts(fewest=1, most=60), train_tokens=st.none() | st.integers(1, 120), minimum_count=st.integers(1, 3))
def test_ids_stand_for_the_words_they_came_from_or_for_unk(
    contents: dict[str, bytes], train_tokens: int | None, minimum_count: int
) -> None:
    try:
        text = read(contents)
        encoded = encode(text, CorpusConfig(train_tokens=train_tokens, minimum_count=minimum_count))
    except CorpusError as error:
        event(str(error).partition(":")[0])
        return
    event("encoded")
    assert len(set(encoded.words)) == len(encoded.words)
    # a used beginning without a line end has no <eos>, which is a word all the same
    assert {*encoded.train, encoded.words.index(EOS)} == set(range(len(encoded.words)))
    cut = text.train[:train_tokens]
    closed = set(text.valid) | set(text.test) <= set(cut)
    counts = Counter(cut)
    assert all(counts[word] >= minimum_count for word in encoded.words if word not in (EOS, UNK))
    for split in SPLITS:
        words = cut if split == "train" else getattr(text, split)
        decoded = [encoded.words[index] for index in getattr(encoded, split)]
        assert len(decoded) == len(words)
        for word, found in zip(words, decoded, strict=True):
            assert found == word or (
                found == UNK and word not in encoded.words and not (closed and counts[word] >= minimum_count)
            )
    assert EOS in text.train


@bounded(100)
@given(tokens=st.lists(st.integers(0, 2**40), max_size=300), columns=st.integers(1, 400))
def test_batches_hold_the_text_in_order_up_to_what_fills_no_row(tokens: list[int], columns: int) -> None:
    text = torch.tensor(tokens, dtype=torch.int64)
    if len(tokens) < 2 * columns:
        assert predicted_tokens(len(tokens), columns) == 0
        with pytest.raises(CorpusError, match=f"the valid split has {len(tokens)} tokens, too few for {columns}"):
            batchify(text, columns, "valid")
        return
    batches = batchify(text, columns, "valid")
    read_by_columns = torch.cat(list(batches.unbind(dim=1)))
    assert read_by_columns.tolist() == tokens[: len(read_by_columns)]
    assert len(tokens) - len(read_by_columns) < columns
    assert batches[1:].numel() == predicted_tokens(len(tokens), columns)
