"""A run that is cut anywhere, and gone on with in a new trainer, gives the numbers of one that was not: to the bit."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from awd import engine as engine_module
from awd.checkpoint import Checkpoints, identity, named_tensors, pack, unpack
from awd.config import Config, config_from_dict, override
from awd.engine import PLAIN, Engine, FastEngine
from awd.errors import DivergedError
from awd.trainer import TEST, TRAIN, EpochRecord, Trainer
from tests.awd.engines import ENGINES, label
from tests.awd.resuming import (
    BOTH_PHASES,
    CORPUS,
    SEED,
    SHORT,
    TABLE5,
    after,
    bits,
    cuts_of,
    in_pieces,
    outcome,
    to_the_end,
    trainer_of,
    uninterrupted,
    with_moments,
)
from tests.awd.strategies import bounded, trainable_values
from tests.awd.tiny import tiny_config

ONE_COLUMN = tiny_config(training={"batch_size": 1, "valid_batch_size": 1})
# what Table 5 does not have
OTHERS = {
    "adam": {"optimizer": {"method": "adam", "learning_rate": 0.02}},
    "adam, untied": {"optimizer": {"method": "adam", "learning_rate": 0.02}, "model": {"tie_weights": False}},
    "untied": {"model": {"tie_weights": False}},
    "sgd": {"optimizer": {"method": "sgd"}},
    "sgd-halving and fine-tuning": {"optimizer": {"method": "sgd-halving"}},
    "asgd from the middle of an epoch": {"optimizer": {"method": "asgd", "average_from": 5}},
    "asgd from an epoch on": {"optimizer": {"method": "asgd", "average_from_epoch": 1}},
    "averaging at a rate that decays": {"optimizer": {"lambd": 1e-3, "alpha": 0.75}},
    "fine-tuning at a rate of its own": {"finetuning": {"learning_rate": 5.0}},
    "masks of the other kinds": {
        "regularization": {"mask_per": "step", "embedding_drops": "units", "recurrent_drops": "units"}
    },
    "no clipping": {"optimizer": {"clip_norm": None, "learning_rate": 1.0}},
    "one layer": {"model": {"num_layers": 1}},
    "nothing is random": {
        "regularization": dict.fromkeys(
            ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout"), 0.0
        ),
        "windows": {"variable": False},
    },
}
ADAM = override(BOTH_PHASES, OTHERS["adam"], "the test")
ASGD = override(BOTH_PHASES, OTHERS["asgd from the middle of an epoch"], "the test")


def kinds_expected(config: Config) -> list[str]:
    kinds = ["before averaging", "before validation", "between epochs", "between phases", "before the test"]
    if config.optimizer.method == "nt-asgd":
        kinds.append("while averaging")
    if config.finetuning.epochs:
        kinds += ["fine-tuning", "fine-tuning, before validation"]
    return kinds


def variants_and_engines() -> Iterator[Any]:
    """All of them; a half that has every variant twice, and the full model in every way, takes seconds."""
    soon = ("torch fp32", "fast bf16")
    for variant in TABLE5:
        for engine in ENGINES:
            marks = [] if variant == "full" or label(engine) in soon else [pytest.mark.slow]
            yield pytest.param(variant, engine, id=f"{variant}, {label(engine)}", marks=marks)


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize(("variant", "engine"), list(variants_and_engines()))
def test_every_variant_cut_in_every_phase(tmp_path: Path, variant: str, engine: Engine) -> None:
    config = TABLE5[variant]
    expected, moments = with_moments(config, engine)
    cuts = cuts_of(moments)
    assert set(cuts) == set(kinds_expected(config))
    actual, checkpoints = in_pieces(tmp_path, config, cuts.values(), engine)
    assert actual == expected
    assert checkpoints.resumes == len(cuts)


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_cut_in_every_phase(tmp_path: Path, name: str) -> None:
    config = override(BOTH_PHASES, OTHERS[name], "the test")
    expected, moments = with_moments(config)
    cuts = cuts_of(moments)
    assert set(cuts) >= {"before validation", "between phases", "fine-tuning", "before the test"}
    assert in_pieces(tmp_path, config, cuts.values())[0] == expected


def test_a_cut_at_every_single_step_and_saving_there_disturbs_nothing(tmp_path: Path) -> None:
    expected, moments = with_moments(BOTH_PHASES)
    trainer, folders = trainer_of(BOTH_PHASES), []

    def save() -> None:
        folders.append(tmp_path / str(len(folders)))
        generator = torch.get_rng_state()
        assert Checkpoints(folders[-1]).save(trainer)
        assert torch.equal(torch.get_rng_state(), generator)

    trainer.may_stop = save
    assert outcome(trainer.run()) == expected
    assert len(folders) == len(moments) > 20
    for folder in folders:
        assert to_the_end(folder, BOTH_PHASES)[0] == expected, folder.name


def test_a_run_cut_after_every_step(tmp_path: Path) -> None:
    expected, moments = with_moments(BOTH_PHASES)
    actual, checkpoints = in_pieces(tmp_path, BOTH_PHASES, range(len(moments)))
    assert actual == expected
    assert checkpoints.resumes == len(moments)


@bounded(8)
@given(
    values=trainable_values(), engine=st.sampled_from(ENGINES), cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3)
)
def test_any_configuration_cut_anywhere(values: dict[str, Any], engine: Engine, cuts: list[float]) -> None:
    config = config_from_dict(values, "drawn")
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(engine_module, "_NARROWEST", {})
        patch.setattr(engine_module, "_FEWEST_LOGITS", 0)
        expected, moments = with_moments(config, engine)
        places = {round(cut * (len(moments) - 1)) for cut in cuts}
        assert in_pieces(Path(folder), config, places, engine)[0] == expected


def test_a_trainer_that_was_stopped_goes_on_itself() -> None:
    expected, moments = with_moments(BOTH_PHASES)
    trainer, calls = trainer_of(BOTH_PHASES), 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        raise InterruptedError

    trainer.may_stop = stop
    for _ in moments:
        with pytest.raises(InterruptedError):
            trainer.run()
    trainer.may_stop = lambda: None
    assert outcome(trainer.run()) == expected
    assert calls == len(moments)


def test_it_may_be_stopped_after_every_step_and_every_epoch_and_before_the_test() -> None:
    result, moments = with_moments(SHORT)
    rows = len(CORPUS.train) // SHORT.training.batch_size
    ends = [index for index, moment in enumerate(moments) if moment.start == rows - 1]
    assert len(ends) == len(result.epochs) == 2
    after_epochs = [moments[index + 1] for index in ends]
    assert [(moment.phase, moment.epoch, moment.start) for moment in after_epochs] == [(TRAIN, 1, 0), (TRAIN, 2, 0)]
    assert [moment.phase for moment in moments].count(TEST) == 1
    assert moments[-1].phase == TEST
    within = [moment.start for moment in moments[: ends[0] + 1]]
    assert within == sorted(set(within))
    assert within[0] > 0


@pytest.mark.parametrize("cut", [0, 2])
def test_a_loss_that_is_not_finite_is_told_at_the_same_step(tmp_path: Path, cut: int) -> None:
    config = tiny_config(optimizer={"learning_rate": 1e10, "clip_norm": None}, windows={"variable": False, "length": 3})
    with pytest.raises(DivergedError) as expected:
        trainer_of(config).run()
    assert expected.value.step is not None
    assert expected.value.step > cut
    with pytest.raises(DivergedError) as actual:
        in_pieces(tmp_path, config, [cut])
    assert str(actual.value) == str(expected.value)


def cut_at(config: Config, kind: str) -> Trainer:
    """A trainer stopped at a moment of this kind."""
    trainer, enough = trainer_of(config), after(cuts_of(with_moments(config)[1])[kind])

    def stop() -> None:
        if enough():
            raise InterruptedError

    trainer.may_stop = stop
    with pytest.raises(InterruptedError):
        trainer.run()
    return trainer


State = dict[str, Any]


def as_written(state: State) -> State:
    """As a file gives it back, in memory of its own."""
    return copy.deepcopy(unpack(pack(state)))


@cache
def _taken(config: Config, kind: str) -> State:
    return as_written(cut_at(config, kind).state_dict())


def taken(config: Config, kind: str) -> State:
    return copy.deepcopy(_taken(config, kind))


def values_of(state: State) -> State:
    """What of a state is not tensors."""
    parts = {path.partition("/")[0] for path, _ in named_tensors(state)}
    return {name: value for name, value in state.items() if name not in parts}


def bits_of(state: State) -> dict[str, bytes]:
    return bits({path: tensor.detach() for path, tensor in named_tensors(state)})


def gone_on_with(config: Config, state: State) -> Trainer:
    trainer = trainer_of(config)
    trainer.load_state_dict(state)
    return trainer


def shifted(start: str) -> Callable[[State], None]:
    """Other values in the tensors whose paths begin so."""

    def change(state: State) -> None:
        found = [tensor for path, tensor in named_tensors(state) if path.startswith(start)]
        assert found, start
        for tensor in found:
            tensor += 0.125

    return change


def without(part: str, name: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        del state[part][name]

    return change


def given_as(**values: Any) -> Callable[[State], None]:
    return lambda state: state.update(values)


PARTS = {
    "weights": (BOTH_PHASES, "before averaging", shifted("model/")),
    "average": (BOTH_PHASES, "while averaging", shifted("average/")),
    "best weights": (BOTH_PHASES, "between phases", shifted("best/")),
    "best weights, at the test": (BOTH_PHASES, "before the test", shifted("best/")),
    "hidden state of a layer": (BOTH_PHASES, "before averaging", shifted("hidden/1")),
    "cell state of a layer": (BOTH_PHASES, "fine-tuning", shifted("cell/0")),
    "losses": (BOTH_PHASES, "before validation", shifted("losses")),
    "lengths": (BOTH_PHASES, "before validation", given_as(lengths=[1, 2, 3])),
    "stream of the lengths": (BOTH_PHASES, "before averaging", without("streams", "window lengths")),
    **{
        f"stream of the {mask}": (BOTH_PHASES, "before averaging", without("mask streams", mask))
        for mask in ("embedding mask", "input mask", "hidden mask 0", "output mask", "weight mask 0", "weight mask 1")
    },
    "first moments": (ADAM, "before averaging", shifted("optimizer/0/exp_avg")),
    "second moments": (ADAM, "before averaging", shifted("optimizer/0/exp_avg_sq")),
    "steps of Adam": (ADAM, "before averaging", shifted("optimizer/0/step")),
    "steps": (ASGD, "before averaging", given_as(steps=100)),
    "rate": (BOTH_PHASES, "fine-tuning", given_as(learning_rate=29.0)),
    "steps averaged": (BOTH_PHASES, "while averaging", given_as(averaged_steps=1)),
    "whether it averages": (BOTH_PHASES, "while averaging", given_as(averaging=False)),
    "criterion": (BOTH_PHASES, "fine-tuning", given_as(criterion=[0.0])),
    "best perplexity": (BOTH_PHASES, "fine-tuning", given_as(best_valid_ppl=1.0)),
    "epochs": (BOTH_PHASES, "fine-tuning", given_as(epochs=[])),
    "epoch": (BOTH_PHASES, "between epochs", given_as(epoch=3)),
    "start": (BOTH_PHASES, "fine-tuning", given_as(start=20)),
    "phase": (BOTH_PHASES, "between phases", given_as(phase=TEST)),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_counts(part: str) -> None:
    """A part lost on the way would change the numbers, and the tests above would tell."""
    config, kind, change = PARTS[part]
    state = taken(config, kind)
    change(state)
    assert outcome(gone_on_with(config, state).run()) != uninterrupted(config)


@pytest.mark.parametrize(("config", "kind"), [(BOTH_PHASES, "while averaging"), (ADAM, "before averaging")])
def test_a_state_stays_as_it_is_and_gives_any_number_of_runs(config: Config, kind: str) -> None:
    state, before = taken(config, kind), taken(config, kind)
    first, second = gone_on_with(config, state), gone_on_with(config, state)
    assert outcome(first.run()) == outcome(second.run()) == uninterrupted(config)
    assert values_of(state) == values_of(before)
    assert bits_of(state) == bits_of(before)


@pytest.mark.parametrize("kind", kinds_expected(BOTH_PHASES))
def test_what_is_loaded_is_what_was_taken(kind: str) -> None:
    state = taken(BOTH_PHASES, kind)
    again = as_written(gone_on_with(BOTH_PHASES, state).state_dict())
    if kind == "before the test":  # whose steps are over
        assert again["epochs"] == state["epochs"]
        return
    assert values_of(again) == values_of(state)
    assert bits_of(again) == bits_of(state)


def test_loading_draws_nothing_from_the_global_generator() -> None:
    state, trainer = taken(BOTH_PHASES, "while averaging"), trainer_of(BOTH_PHASES)
    before = torch.get_rng_state()
    trainer.load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_matrix_is_taken_once_and_loaded_as_one(tied: bool) -> None:
    config = override(BOTH_PHASES, {"model": {"tie_weights": tied}}, "the test")
    state = taken(config, "while averaging")
    for part in ("model", "average", "best"):
        assert ("decoder.weight" in state[part]) == (not tied)
    trainer = gone_on_with(config, state)
    assert trainer.stepper.average is not None
    for model in (trainer.model, trainer.stepper.average):
        assert (model.decoder.weight is model.embedding.weight) == tied


def test_no_two_tensors_share_memory() -> None:
    tensors = [tensor for _, tensor in named_tensors(cut_at(BOTH_PHASES, "while averaging").state_dict())]
    places = sorted((tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in tensors)
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def test_an_epoch_whose_perplexity_overflows_is_kept_as_it_is() -> None:
    trainer = cut_at(SHORT, "between epochs")
    trainer.epochs = [replace(record, train_ppl=math.inf, learning_rate=0.1 + 0.2) for record in trainer.epochs]
    epochs = gone_on_with(SHORT, as_written(trainer.state_dict())).epochs
    assert epochs == trainer.epochs
    assert all(type(record) is EpochRecord for record in epochs)


def test_an_identity_is_plain_values_and_the_same_for_a_trainer_made_again_or_trained() -> None:
    mine = identity(trainer_of())
    assert json.loads(json.dumps(mine)) == mine
    assert identity(trainer_of()) == identity(cut_at(SHORT, "between epochs")) == mine


def test_an_identity_tells_apart_whatever_changes_the_numbers() -> None:
    place = len(CORPUS.valid) // 2
    *train, last = CORPUS.train
    others = [
        trainer_of(engine=FastEngine()),
        trainer_of(engine=type(PLAIN)("bf16")),
        trainer_of(tiny_config(training={"epochs": 3})),
        Trainer(SHORT, CORPUS, SEED + 1),
        Trainer(SHORT, replace(CORPUS, words=CORPUS.words[::-1]), SEED),
        Trainer(SHORT, replace(CORPUS, valid=[*CORPUS.valid[:place], 0, *CORPUS.valid[place:]]), SEED),
        Trainer(ONE_COLUMN, CORPUS, SEED),
        # the same tokens in the same order: only where the splits begin differs
        Trainer(ONE_COLUMN, replace(CORPUS, train=train, valid=[last, *CORPUS.valid]), SEED),
    ]
    identities = [json.dumps(identity(trainer)) for trainer in (trainer_of(), *others)]
    assert len(set(identities)) == len(identities)
