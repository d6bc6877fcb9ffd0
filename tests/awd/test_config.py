import dataclasses
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from awd.config import (
    Config,
    ModelConfig,
    RegularizationConfig,
    WindowConfig,
    config_from_dict,
    config_to_dict,
    override,
)
from awd.errors import ConfigError
from awd.model import count_parameters

PTB, WIKITEXT_2 = 10_000, 33_278  # words in their vocabularies


def test_the_defaults_are_the_papers_numbers_for_penn_treebank():
    assert config_to_dict(Config()) == {
        "model": {"embedding_size": 400, "hidden_size": 1150, "num_layers": 3, "tie_weights": True},
        "regularization": {
            "embedding_dropout": 0.1,
            "input_dropout": 0.4,
            "hidden_dropout": 0.3,
            "output_dropout": 0.4,
            "weight_dropout": 0.5,
            "activation_penalty": 2.0,
            "temporal_activation_penalty": 1.0,
            "weight_decay": 1.2e-6,
            "mask_per": "window",
            "embedding_drops": "words",
            "recurrent_drops": "weights",
        },
        "windows": {"length": 70, "variable": True, "short_probability": 0.05, "spread": 5.0, "minimum": 5},
        "optimizer": {
            "method": "nt-asgd",
            "learning_rate": 30.0,
            "clip_norm": 0.25,
            "nonmonotone_interval": 5,
            "average_from": 0,
            "average_from_epoch": 0,
            "lambd": 0.0,
            "alpha": 0.0,
        },
        "finetuning": {"epochs": 500, "learning_rate": None},
        "training": {"epochs": 750, "batch_size": 40, "valid_batch_size": 10, "test_batch_size": 1},
        "corpus": {"train_tokens": None, "minimum_count": 1, "valid_tokens": None},
    }


@pytest.mark.parametrize(
    ("vocabulary", "model", "parameters"),
    [
        (PTB, ModelConfig(), 24_221_600),
        (WIKITEXT_2, ModelConfig(), 33_556_078),
        (PTB, ModelConfig(embedding_size=None), 43_277_600),
        (WIKITEXT_2, ModelConfig(embedding_size=None), 70_070_578),
    ],
)
def test_parameter_counts_are_the_papers(vocabulary, model, parameters):
    assert count_parameters(vocabulary, model) == parameters


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (ModelConfig(), [(400, 1150), (1150, 1150), (1150, 400)]),
        (ModelConfig(tie_weights=False), [(400, 1150), (1150, 1150), (1150, 1150)]),
        (ModelConfig(embedding_size=None), [(1150, 1150)] * 3),
        (ModelConfig(num_layers=1), [(400, 400)]),
        (ModelConfig(num_layers=1, tie_weights=False), [(400, 1150)]),
    ],
)
def test_the_last_layer_is_as_wide_as_the_embedding_it_is_tied_to(model, sizes):
    assert model.layer_sizes == sizes


@pytest.mark.parametrize("section", [field.name for field in dataclasses.fields(Config)])
def test_a_configuration_cannot_be_changed(section):
    config = Config()
    with pytest.raises(FrozenInstanceError):
        setattr(config, section, None)
    key = dataclasses.fields(getattr(config, section))[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(getattr(config, section), key, 1)


WRITTEN = {"True": "true", "None": "null (or nothing)"}  # as users write them
BAD_VALUES = [
    ("model", "hidden_size", 0, "greater than or equal to 1"),
    ("model", "hidden_size", -3, "greater than or equal to 1"),
    ("model", "hidden_size", 2.5, "not a whole number"),
    ("model", "hidden_size", "1150", "not a whole number"),
    ("model", "hidden_size", True, "not a whole number"),
    ("model", "hidden_size", None, "not a whole number"),
    ("model", "embedding_size", 0, "greater than or equal to 1"),
    ("model", "embedding_size", "wide", "not a whole number"),
    ("model", "tie_weights", "yes", "not true or false"),
    ("model", "tie_weights", 1, "not true or false"),
    ("regularization", "weight_dropout", 1.0, "less than or equal to 0.9999847412109375"),
    ("regularization", "weight_dropout", -0.1, "greater than or equal to 0"),
    ("regularization", "weight_dropout", "0.5", "not a number"),
    ("regularization", "weight_dropout", True, "not a number"),
    ("regularization", "weight_decay", -1e-6, "greater than or equal to 0"),
    ("regularization", "weight_decay", float("nan"), "finite number"),
    ("windows", "short_probability", 1.5, "less than or equal to 1"),
    ("windows", "length", 0, "greater than or equal to 1"),
    ("optimizer", "learning_rate", 0, "greater than 0"),
    ("optimizer", "learning_rate", float("inf"), "finite number"),
    ("optimizer", "clip_norm", 0.0, "greater than 0"),
    ("optimizer", "nonmonotone_interval", -1, "greater than or equal to 0"),
    ("optimizer", "method", "ntasgd", "'sgd', 'sgd-halving', 'asgd', 'nt-asgd' or 'adam'"),
    ("finetuning", "epochs", -1, "greater than or equal to 0"),
    ("training", "epochs", 0, "greater than or equal to 1"),
    ("corpus", "train_tokens", 0, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("section", "key", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_is_told_with_origin_key_value_and_what_is_allowed(section, key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        override(Config(), {section: {key: value}}, "suite.yaml")
    message = str(caught.value)
    assert message.startswith(f"suite.yaml: {section}.{key}: {WRITTEN.get(repr(value), repr(value))} ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "key", "meant"),
    [
        ({"model": {"hiden_size": 3}}, "model.hiden_size", "hidden_size"),
        ({"regularisation": {}}, "regularisation", "regularization"),
        ({"regularization": {"weightdrop": 0.5}}, "regularization.weightdrop", "weight_dropout"),
        ({"optimizer": {"lerning_rate": 30.0}}, "optimizer.lerning_rate", "learning_rate"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_and_all_that_are_allowed(values, key, meant):
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values, "suite.yaml")
    message = str(caught.value)
    assert message.startswith(f"suite.yaml: {key}: unknown key {key.split('.')[-1]!r}; did you mean {meant!r}?")
    section = getattr(Config(), key.split(".")[0]) if "." in key else Config()
    for field in dataclasses.fields(section):
        assert field.name in message.split("allowed: ")[1]


@pytest.mark.parametrize(
    ("values", "key", "meant"),
    [
        ({"fine-tuning": {"epochs": 1}}, "fine-tuning", "finetuning"),
        ({"model": {"hidden-size": 3}}, "model.hidden-size", "hidden_size"),
        ({"model": {"hidden size": 3}}, "model.hidden size", "hidden_size"),
    ],
)
def test_an_unknown_key_with_a_hyphen_or_space_is_told_too(values, key, meant):
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values, "suite.yaml")
    assert str(caught.value).startswith(f"suite.yaml: {key}: unknown key")
    assert f"did you mean {meant!r}?" in str(caught.value)


@pytest.mark.parametrize("value", [3, "big", None, [1]])
def test_a_section_that_is_no_mapping_is_told(value):
    with pytest.raises(ConfigError, match=r"suite\.yaml: model: .* is not a mapping of keys to values"):
        config_from_dict({"model": value}, "suite.yaml")


def test_every_fault_has_a_line_of_its_own():
    with pytest.raises(ConfigError) as caught:
        config_from_dict({"model": {"hidden_size": 0, "num_layers": 0}, "windows": {"lenght": 3}}, "suite.yaml")
    lines = str(caught.value).split("\n")
    assert [line.split(": ")[1] for line in lines] == ["model.hidden_size", "model.num_layers", "windows.lenght"]


def test_bad_values_are_refused_in_code_too():
    with pytest.raises(ValueError, match=r"less than or equal to 0\.9999847"):
        RegularizationConfig(weight_dropout=1.0)
    with pytest.raises(ValueError, match="lenght"):
        WindowConfig(lenght=70)


def test_a_configuration_survives_as_plain_values():
    config = override(Config(), {"model": {"embedding_size": None}, "optimizer": {"method": "adam"}}, "here")
    assert config_from_dict(config_to_dict(config), "there") == config


def test_an_override_changes_its_fields_and_no_other():
    config = override(Config(), {"regularization": {"weight_dropout": 0.0}}, "here")
    values = config_to_dict(config)
    assert values["regularization"].pop("weight_dropout") == 0
    default = config_to_dict(Config())
    default["regularization"].pop("weight_dropout")
    assert values == default
    assert Config().regularization.weight_dropout == 0.5


def test_whole_numbers_may_stand_for_real_ones():
    assert override(Config(), {"optimizer": {"learning_rate": 10}}, "here").optimizer.learning_rate == 10.0


def test_reading_a_configuration_does_not_load_torch():
    command = "import sys, awd, awd.config; assert awd.Config and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)
