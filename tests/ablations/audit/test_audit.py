"""What is configured passes: the nine variants at two scales, and configurations of any shape."""

from __future__ import annotations

import time

import pytest

from ablations.audit import audit, audit_config
from ablations.experiment.plan import Corpus
from ablations.experiment.selection import select
from awd.corpus import load_corpus
from awd.corpus.text import Encoded, encode
from tests.ablations.audit.conftest import small_config
from tests.awd.tiny import tiny_corpus

MECHANISMS = [
    "width",
    "embed drop",
    "input drop",
    "hidden drop",
    "output drop",
    "weight drop",
    "softmax",
    "AR",
    "TAR",
    "windows",
    "rate",
    "clipping",
    "weight decay",
    "averaging",
    "fine-tuning",
    "evaluation",
    "after eval",
]


@pytest.mark.parametrize("profile", ["smoke", pytest.param("demo", marks=pytest.mark.slow)])
def test_all_nine_variants_pass_in_under_a_minute(profile: str) -> None:
    selection = select("table5", profile)
    text = load_corpus("python-docs")
    plan = selection.plan([Corpus("python-docs", "python-docs", text.sha256)], seeds=[1])
    started = time.perf_counter()
    outcomes = {spec.variant: audit(spec.config, encode(text, spec.config.corpus)) for spec in plan}
    assert time.perf_counter() - started < 60
    assert len(outcomes) == 9
    for variant, outcome in outcomes.items():
        assert outcome.ok, (variant, outcome.contradictions)
        assert outcome.text == "passed"
        assert [cell.mechanism for cell in outcome.cells] == MECHANISMS


def test_a_variant_is_told_by_its_configuration() -> None:
    """What each variant of the table takes away is measured as away, and nothing else is."""
    corpus = tiny_corpus()
    changes = {
        "fine-tuning": ({"finetuning": {"epochs": 0}}, "none"),
        "averaging": ({"optimizer": {"method": "sgd-halving"}}, "never"),
        "windows": ({"windows": {"variable": False}}, "12"),
        "embed drop": ({"regularization": {"embedding_dropout": 0.0}}, "0"),
        "weight decay": ({"regularization": {"weight_decay": 0.0}}, "0"),
        "AR": ({"regularization": {"activation_penalty": 0.0}}, "0"),
        "width": ({"model": {"embedding_size": None}}, "32"),
        "weight drop": ({"regularization": {"weight_dropout": 0.0}}, "0"),
    }
    full = {cell.mechanism: cell.expected for cell in audit_config(small_config(), corpus)}
    for mechanism, (change, measured) in changes.items():
        cells = {cell.mechanism: cell for cell in audit_config(small_config(**change), corpus)}
        assert all(cell.ok for cell in cells.values()), mechanism
        assert cells[mechanism].measured == measured
        assert full[mechanism] != measured


OTHER_MASKS = {"mask_per": "step", "embedding_drops": "units", "recurrent_drops": "units"}
ODD: dict[str, dict[str, dict[str, object]]] = {
    "one layer, not tied": {"model": {"num_layers": 1, "tie_weights": False}},
    "a width of one": {"model": {"embedding_size": 1, "hidden_size": 1, "num_layers": 4}},
    "nothing acts": {
        "regularization": {
            "embedding_dropout": 0.0,
            "input_dropout": 0.0,
            "hidden_dropout": 0.0,
            "output_dropout": 0.0,
            "weight_dropout": 0.0,
            "activation_penalty": 0.0,
            "temporal_activation_penalty": 0.0,
            "weight_decay": 0.0,
        },
        "optimizer": {"method": "sgd", "clip_norm": None, "learning_rate": 0.1},
    },
    "nearly everything is dropped": {
        "regularization": {
            "embedding_dropout": 0.9,
            "input_dropout": 0.9,
            "hidden_dropout": 0.9,
            "weight_dropout": 0.95,
        }
    },
    "hardly anything is": {"regularization": {"embedding_dropout": 0.001, "hidden_dropout": 0.01}},
    "a mask for every step": {"regularization": {"mask_per": "step"}},
    "units of the embedding": {"regularization": {"embedding_drops": "units"}},
    "units of the hidden state": {"regularization": {"recurrent_drops": "units"}},
    "all of the other masks": {"regularization": OTHER_MASKS},
    "all of the other masks, one layer": {"regularization": OTHER_MASKS, "model": {"num_layers": 1}},
    "all of the other masks, a width of one": {
        "regularization": OTHER_MASKS,
        "model": {"embedding_size": 1, "hidden_size": 1, "num_layers": 4},
    },
    "units of nearly everything": {
        "regularization": {
            **{"embedding_dropout": 0.9, "input_dropout": 0.9, "hidden_dropout": 0.9, "weight_dropout": 0.95},
            **OTHER_MASKS,
        }
    },
    "units of hardly anything": {"regularization": {"embedding_dropout": 0.001, "weight_dropout": 0.01, **OTHER_MASKS}},
    "units of nothing": {
        "regularization": {
            **{"embedding_dropout": 0.0, "input_dropout": 0.0, "hidden_dropout": 0.0, "weight_dropout": 0.0},
            **OTHER_MASKS,
        }
    },
    "sgd": {"optimizer": {"method": "sgd"}},
    "halving and fine-tuning": {"optimizer": {"method": "sgd-halving"}, "finetuning": {"learning_rate": 0.5}},
    "asgd": {"optimizer": {"method": "asgd", "average_from": 3}},
    "asgd from an epoch on": {"optimizer": {"method": "asgd", "average_from_epoch": 2}},
    "asgd far off": {"optimizer": {"method": "asgd", "average_from": 10**6}},
    "lambd and alpha": {"optimizer": {"method": "asgd", "lambd": 1e-4, "alpha": 0.75}},
    "adam": {"optimizer": {"method": "adam", "learning_rate": 1e-3}},
    "an interval of none": {"optimizer": {"nonmonotone_interval": 0}},
    "a long interval": {"optimizer": {"nonmonotone_interval": 1000}},
    "windows of one token": {"windows": {"length": 1, "minimum": 1, "spread": 0.0}},
    "windows longer than the text": {"windows": {"length": 10**6, "minimum": 10**6, "spread": 10**6}},
    "half of the windows short, without spread": {"windows": {"short_probability": 0.5, "spread": 0.0}},
    "a decay that float32 would lose": {"regularization": {"weight_decay": 1e-9}, "optimizer": {"learning_rate": 1e-3}},
    "a batch of one": {"training": {"batch_size": 1, "valid_batch_size": 1}},
    "a rate that explodes": {"optimizer": {"learning_rate": 1e30, "clip_norm": None}},
}


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in ODD.items()])
def test_odd_configurations_pass(changes: dict[str, dict[str, object]]) -> None:
    outcome = audit(small_config(**changes), tiny_corpus())
    assert outcome.ok, outcome.contradictions


def test_where_the_rate_explodes_a_tamer_one_is_measured_and_said() -> None:
    config = small_config(optimizer={"learning_rate": 1e30, "clip_norm": None})
    cell = next(cell for cell in audit_config(config, tiny_corpus()) if cell.mechanism == "rate")
    assert "set to 1: at the configured one the loss is not finite" in cell.findings[0].what


@pytest.mark.parametrize("words", [1, 2, 3])
def test_a_vocabulary_of_few_words(words: int) -> None:
    train = [place * place % words for place in range(60)]
    corpus = Encoded(["a", "b", "c"][:words], train, [place % words for place in range(30)], [0] * 9)
    outcome = audit(small_config(), corpus)
    assert outcome.ok, outcome.contradictions


def test_the_same_audit_twice_is_the_same() -> None:
    first, second = (audit_config(small_config(), tiny_corpus()) for _ in range(2))
    assert first == second


def test_what_breaks_the_audit_fails_it_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("no such thing\nand more")

    monkeypatch.setattr("awd.model.AWDLSTM.forward", broken)
    outcome = audit(small_config(), tiny_corpus())
    assert not outcome.ok
    assert outcome.text == "failed: the audit broke off: TypeError: no such thing"


def test_an_audit_leaves_torch_as_it_was() -> None:
    import torch
    from torch.optim import optimizer

    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    hooks = len(optimizer._global_optimizer_pre_hooks), len(optimizer._global_optimizer_post_hooks)
    audit(small_config(), tiny_corpus())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_default_dtype() == before[1]
    assert torch.get_num_threads() == before[2]
    assert (len(optimizer._global_optimizer_pre_hooks), len(optimizer._global_optimizer_post_hooks)) == hooks
