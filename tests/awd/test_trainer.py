import copy
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from awd.config import Config
from awd.corpus.text import encode, make_text
from awd.dropout import Masks
from awd.errors import CorpusError, DivergedError
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM
from awd.streams import Streams
from awd.trainer import EpochRecord, Trainer, TrainingResult
from awd.windows import windows
from tests.awd.by_hand import best_of, fires, lay_out, mean_of, perplexity_of, run_by_hand
from tests.awd.tiny import tiny_config, tiny_corpus

CORPUS = tiny_corpus()
SEED = 0
CONFIGS = {
    "sgd": {},
    "fixed windows": {"windows": {"variable": False}},
    "sgd-halving": {
        "optimizer": {"method": "sgd-halving", "learning_rate": 60.0, "nonmonotone_interval": 0},
        "training": {"epochs": 8},
    },
    "asgd from step 20": {"optimizer": {"method": "asgd", "average_from": 20, "learning_rate": 30.0}},
    "asgd from epoch 2": {
        "optimizer": {"method": "asgd", "average_from_epoch": 2, "learning_rate": 30.0},
        "training": {"epochs": 4},
        "finetuning": {"epochs": 2},
    },
    "nt-asgd": {"optimizer": {"method": "nt-asgd", "learning_rate": 30.0}, "training": {"epochs": 6}},
    "nt-asgd that fires again": {
        "optimizer": {"method": "nt-asgd", "learning_rate": 20.0, "nonmonotone_interval": 0},
        "training": {"epochs": 8},
    },
    "nt-asgd and fine-tuning": {
        "optimizer": {"method": "nt-asgd", "learning_rate": 30.0},
        "training": {"epochs": 6},
        "finetuning": {"epochs": 5},
    },
    "fine-tuning at a rate of its own": {
        "optimizer": {"method": "nt-asgd", "learning_rate": 30.0},
        "training": {"epochs": 4},
        "finetuning": {"epochs": 3, "learning_rate": 5.0},
    },
}


def train(config: Config, seed: int = SEED) -> TrainingResult:
    return Trainer(config, CORPUS, seed).run()


def facts(record: EpochRecord) -> EpochRecord:
    """A record without its wall-clock time."""
    return replace(record, seconds=0.0)


def assert_same_weights(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", CONFIGS)
def test_every_epoch_is_that_of_the_loop_written_out(name):
    config = tiny_config(**CONFIGS[name])
    result, expected = train(config), run_by_hand(config, CORPUS, SEED)
    assert [(epoch.phase, epoch.learning_rate, epoch.averaging) for epoch in result.epochs] == [
        (epoch.phase, epoch.learning_rate, epoch.averaging) for epoch in expected
    ]
    for told in ("train_ppl", "valid_ppl"):
        mine, theirs = ([getattr(epoch, told) for epoch in epochs] for epochs in (result.epochs, expected))
        assert mine == pytest.approx(theirs, rel=1e-7), told
    best = best_of(expected)
    test_text = lay_out(CORPUS.test, config.training.test_batch_size)
    assert result.valid_ppl == pytest.approx(best.valid_ppl, rel=1e-7)
    assert result.test_ppl == pytest.approx(perplexity_of(result.model, best.judged, test_text), rel=1e-7)
    torch.testing.assert_close(list(result.model.parameters()), best.judged, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_under_asgd_the_average_of_the_iterates_is_validated_not_the_last_one():
    config = tiny_config(**CONFIGS["nt-asgd"])
    result, by_hand = train(config), run_by_hand(config, CORPUS, SEED)
    start = result.averaging_started
    assert start is not None
    averaged = mean_of([weights for epoch in by_hand[start:] for weights in epoch.iterates])
    valid = lay_out(CORPUS.valid, config.training.valid_batch_size)
    assert result.epochs[-1].valid_ppl == pytest.approx(perplexity_of(result.model, averaged, valid), rel=1e-7)
    last = perplexity_of(result.model, by_hand[-1].iterates[-1], valid)
    assert result.epochs[-1].valid_ppl != pytest.approx(last, rel=1e-2)


@pytest.mark.usefixtures("double")
def test_averaging_starts_from_the_current_weights_though_they_are_not_the_best():
    config = tiny_config(**CONFIGS["nt-asgd"])
    weights: list[list[torch.Tensor]] = []
    trainer = Trainer(config, CORPUS, SEED)
    trainer.on_epoch = lambda record: weights.append([w.detach().clone() for w in trainer.model.parameters()])
    result = trainer.run()
    start = result.averaging_started
    valid = [epoch.valid_ppl for epoch in result.epochs]
    assert valid[start - 1] > min(valid[:start])
    # the raw weights go on as though nothing had happened: as SGD's do
    sgd = run_by_hand(tiny_config(training={"epochs": start + 1}, optimizer={"learning_rate": 30.0}), CORPUS, SEED)
    torch.testing.assert_close(weights[start], sgd[start].iterates[-1], rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_an_average_that_has_begun_is_not_begun_anew():
    config = tiny_config(**CONFIGS["nt-asgd that fires again"])
    result, by_hand = train(config), run_by_hand(config, CORPUS, SEED)
    valid, start = [epoch.valid_ppl for epoch in result.epochs], result.averaging_started
    assert any(fires(valid[:epoch], valid[epoch], 0) for epoch in range(start, len(valid) - 1))
    averaged = mean_of([weights for epoch in by_hand[start:] for weights in epoch.iterates])
    text = lay_out(CORPUS.valid, config.training.valid_batch_size)
    assert valid[-1] == pytest.approx(perplexity_of(result.model, averaged, text), rel=1e-7)


@pytest.mark.parametrize("name", ["nt-asgd", "sgd-halving"])
def test_the_trigger_is_checked_once_an_epoch_against_validation(name):
    config = tiny_config(**CONFIGS[name])
    result = train(config)
    valid = [epoch.valid_ppl for epoch in result.epochs]
    n = config.optimizer.nonmonotone_interval
    firings = [epoch for epoch in range(len(valid)) if fires(valid[:epoch], valid[epoch], n)]
    assert firings
    if name == "nt-asgd":
        assert result.averaging_started == firings[0] + 1
    else:
        assert [epoch.learning_rate for epoch in result.epochs] == [
            60.0 / 2 ** sum(firing < epoch for firing in firings) for epoch in range(len(valid))
        ]


@pytest.mark.usefixtures("double")
def test_sgd_halving_keeps_halving_on_the_whole_history_and_never_averages():
    result = train(tiny_config(**CONFIGS["sgd-halving"]))
    rates = [epoch.learning_rate for epoch in result.epochs]
    halved = [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]]
    assert len(halved) >= 3
    # a history emptied at a halving could not fire in the very next epoch
    assert any(later == earlier + 1 for earlier, later in pairwise(halved))
    assert not any(epoch.averaging for epoch in result.epochs)
    assert result.averaging_started is None


def test_without_fine_tuning_the_result_is_the_training_phase_of_the_full_model_to_the_bit():
    full = train(tiny_config(**CONFIGS["nt-asgd and fine-tuning"]))
    without = train(tiny_config(**CONFIGS["nt-asgd"]))
    training_phase = [facts(epoch) for epoch in full.epochs if epoch.phase == "train"]
    assert [facts(epoch) for epoch in without.epochs] == training_phase
    assert without.valid_ppl == min(epoch.valid_ppl for epoch in training_phase)
    assert len(full.epochs) > len(training_phase)


@pytest.mark.parametrize("method", ["sgd", "nt-asgd", "adam"])
def test_fine_tuning_averages_from_its_first_epoch_whatever_trained_before(method):
    rate = 0.01 if method == "adam" else 10.0
    result = train(
        tiny_config(
            optimizer={"method": method, "learning_rate": rate}, finetuning={"epochs": 2}, training={"epochs": 2}
        )
    )
    assert [epoch.averaging for epoch in result.epochs if epoch.phase == "finetune"] == [True, True]


def test_fine_tuning_never_makes_validation_worse():
    phases = {"optimizer": {"method": "nt-asgd", "learning_rate": 30.0}, "training": {"epochs": 4}}
    before = train(tiny_config(**phases))
    harmed = train(tiny_config(**phases, finetuning={"epochs": 3, "learning_rate": 1000.0}))
    assert min(epoch.valid_ppl for epoch in harmed.epochs if epoch.phase == "finetune") > before.valid_ppl
    assert harmed.valid_ppl == before.valid_ppl
    assert harmed.test_ppl == before.test_ppl
    assert_same_weights(harmed.model.state_dict(), before.model.state_dict())


def test_fine_tuning_starts_from_the_best_weights_so_far():
    trainer = Trainer(tiny_config(optimizer={"learning_rate": 30.0}, finetuning={"epochs": 1}), CORPUS, SEED)
    ends: list[dict[str, torch.Tensor]] = []
    starts: list[dict[str, torch.Tensor]] = []

    def remember_the_start(model, inputs):
        if len(ends) == 3 and not starts:
            starts.append(copy.deepcopy(model.state_dict()))

    trainer.model.register_forward_pre_hook(remember_the_start)
    trainer.on_epoch = lambda record: ends.append(copy.deepcopy(trainer.model.state_dict()))
    valid = [epoch.valid_ppl for epoch in trainer.run().epochs[:3]]
    best = valid.index(min(valid))
    assert best != 2, "the last epoch must not be the best for this test to tell the two apart"
    assert_same_weights(starts[0], ends[best])


def test_fine_tuning_starts_with_an_empty_history():
    """Worse than every epoch of training, it would end after one epoch if it remembered them."""
    result = train(
        tiny_config(
            optimizer={"method": "nt-asgd", "learning_rate": 30.0, "nonmonotone_interval": 0},
            training={"epochs": 4},
            finetuning={"epochs": 3, "learning_rate": 1000.0},
        )
    )
    train_ppls, finetune_ppls = (
        [epoch.valid_ppl for epoch in result.epochs if epoch.phase == phase] for phase in ("train", "finetune")
    )
    assert finetune_ppls[0] > max(train_ppls)
    assert len(finetune_ppls) == 3


def test_fine_tuning_ends_by_the_same_criterion():
    config = tiny_config(
        optimizer={"method": "nt-asgd", "learning_rate": 30.0, "nonmonotone_interval": 0},
        training={"epochs": 4},
        finetuning={"epochs": 50},
    )
    valid = [epoch.valid_ppl for epoch in train(config).epochs if epoch.phase == "finetune"]
    assert len(valid) < 50
    assert [fires(valid[:epoch], valid[epoch], 0) for epoch in range(len(valid))] == [False] * (len(valid) - 1) + [True]


def test_the_test_split_is_evaluated_on_the_best_weights():
    trainer = Trainer(tiny_config(optimizer={"learning_rate": 30.0}), CORPUS, SEED)
    ends: list[dict[str, torch.Tensor]] = []
    trainer.on_epoch = lambda record: ends.append(copy.deepcopy(trainer.model.state_dict()))
    result = trainer.run()
    valid = [epoch.valid_ppl for epoch in result.epochs]
    best = valid.index(min(valid))
    assert best != len(valid) - 1, "the last epoch must not be the best for this test to tell the two apart"
    assert result.valid_ppl == valid[best]
    assert_same_weights(result.model.state_dict(), ends[best])
    fresh = AWDLSTM(len(CORPUS.words), trainer.config.model, trainer.config.regularization)
    fresh.load_state_dict(ends[best])
    assert result.test_ppl == perplexity(evaluate(fresh, trainer.test_data))


def test_an_epoch_is_validated_on_the_beginning_and_the_best_weights_on_all():
    settings = {"optimizer": {"learning_rate": 30.0}, "finetuning": {"epochs": 2}}
    trainer = Trainer(tiny_config(**settings, corpus={"valid_tokens": 40}), CORPUS, SEED)
    result = trainer.run()
    of_beginning = Trainer(tiny_config(**settings), replace(CORPUS, valid=CORPUS.valid[:40]), SEED).run()
    assert [facts(epoch) for epoch in result.epochs] == [facts(epoch) for epoch in of_beginning.epochs]
    assert_same_weights(result.model.state_dict(), of_beginning.model.state_dict())
    assert result.test_ppl == of_beginning.test_ppl
    whole = perplexity(evaluate(of_beginning.model, Trainer(tiny_config(), CORPUS, SEED).valid_data))
    assert result.valid_ppl == whole != of_beginning.valid_ppl


def test_a_beginning_longer_than_the_split_is_all_of_it():
    result, whole = train(tiny_config(corpus={"valid_tokens": 10**6})), train(tiny_config())
    assert [facts(epoch) for epoch in result.epochs] == [facts(epoch) for epoch in whole.epochs]
    assert result.valid_ppl == whole.valid_ppl


@pytest.mark.parametrize("name", ["sgd", "sgd-halving", "nt-asgd and fine-tuning"])
def test_a_run_repeats_to_the_bit_whatever_the_global_generator_holds(name):
    config = tiny_config(**CONFIGS[name])
    torch.manual_seed(1)
    first = train(config)
    torch.manual_seed(2)
    second = train(config)
    assert [facts(epoch) for epoch in first.epochs] == [facts(epoch) for epoch in second.epochs]
    assert first.test_ppl == second.test_ppl
    assert_same_weights(first.model.state_dict(), second.model.state_dict())


def test_a_caller_who_evaluates_between_epochs_does_not_end_dropout():
    trainer = Trainer(tiny_config(), CORPUS, SEED)
    trainer.model.eval()
    trainer.on_epoch = lambda record: trainer.model.eval()
    assert [facts(epoch) for epoch in trainer.run().epochs] == [facts(epoch) for epoch in train(tiny_config()).epochs]


def test_another_seed_is_another_run():
    assert train(tiny_config(), 0).valid_ppl != train(tiny_config(), 1).valid_ppl


@pytest.mark.parametrize("name", ["sgd", "nt-asgd and fine-tuning"])
def test_epochs_are_told_in_order_as_they_end(name):
    told: list[EpochRecord] = []
    result = Trainer(tiny_config(**CONFIGS[name]), CORPUS, SEED, on_epoch=told.append).run()
    assert told == result.epochs
    for phase in ("train", "finetune"):
        numbers = [epoch.epoch for epoch in told if epoch.phase == phase]
        assert numbers == list(range(1, len(numbers) + 1))
    columns = 4
    assert {epoch.tokens for epoch in told} == {(len(CORPUS.train) // columns - 1) * columns}


class Seen:
    """What a trainer's network is given in its first epoch, and the weights that it starts from."""

    def __init__(self, config: Config) -> None:
        trainer = Trainer(config, CORPUS, SEED)
        self.weights = copy.deepcopy(trainer.model.state_dict())
        self.windows: list[torch.Tensor] = []
        self.masks: list[Masks] = []
        trainer.model.register_forward_pre_hook(self._remember)
        trainer.run()

    def _remember(self, model, inputs) -> None:
        if model.training:
            tokens, _, masks = inputs
            self.windows.append(tokens)
            self.masks.append(masks)


def removed(section: str, key: str) -> Config:
    off = {"variable": False, "method": "sgd-halving"}.get(key, 0)
    return tiny_config(**{"training": {"epochs": 1}, section: {key: off}})


MASK_OF = {
    "embedding_dropout": "embedding",
    "input_dropout": "input",
    "hidden_dropout": "hidden",
    "output_dropout": "output",
    "weight_dropout": "weight",
}
REGULARIZERS = [
    *[("regularization", key) for key in MASK_OF],
    ("regularization", "activation_penalty"),
    ("regularization", "temporal_activation_penalty"),
    ("regularization", "weight_decay"),
    ("windows", "variable"),
    ("optimizer", "method"),
]


@pytest.mark.parametrize(("section", "key"), REGULARIZERS)
def test_taking_one_regularizer_away_leaves_the_other_draws_as_they_were(section, key):
    full, without = Seen(tiny_config(training={"epochs": 1})), Seen(removed(section, key))
    assert_same_weights(without.weights, full.weights)
    if key != "variable":
        assert_same_weights(without.windows, full.windows)
    assert len(without.masks) > 5
    for mine, theirs in zip(without.masks, full.masks, strict=key != "variable"):
        for name in MASK_OF.values():
            if name == MASK_OF.get(key):
                assert all(mask is None for mask in leaves(getattr(mine, name)))
            else:
                assert_same_weights(leaves(getattr(mine, name)), leaves(getattr(theirs, name)))


def leaves(masks) -> list:
    return list(masks) if isinstance(masks, tuple) else [masks]


def test_full_size_embedding_leaves_windows_and_word_masks_as_they_were():
    full = Seen(tiny_config(training={"epochs": 1}))
    wide = Seen(tiny_config(training={"epochs": 1}, model={"embedding_size": None}))
    assert_same_weights(wide.windows, full.windows)
    assert_same_weights([masks.embedding for masks in wide.masks], [masks.embedding for masks in full.masks])


def test_an_epoch_zeroes_the_state_and_carries_it_from_window_to_window():
    trainer = Trainer(tiny_config(training={"epochs": 2}), CORPUS, SEED)
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []

    def remember(model, inputs, output):
        if model.training:
            before.append(inputs[1][0][0])
            after.append(output.state[0][0])

    trainer.model.register_forward_hook(remember)
    trainer.run()
    zeroed = [index for index, hidden in enumerate(before) if not hidden.any()]
    assert len(zeroed) == 2
    for index in range(1, len(before)):
        if index not in zeroed:
            assert torch.equal(before[index], after[index - 1])
            assert not before[index].requires_grad


def first_step_not_finite(config: Config, seed: int) -> int:
    """The step, from 1, at which a loss of SGD's first epoch stops being finite."""
    streams, masks = Streams(seed), Streams(seed)
    model = AWDLSTM(len(CORPUS.words), config.model, config.regularization, streams=streams)
    text = lay_out(CORPUS.train, config.training.batch_size)
    state, length = model.initial_state(text.shape[1]), config.windows.length
    for step in range(1, 1000):
        start = (step - 1) * length
        stop = min(start + length, len(text) - 1)
        output = model(text[start:stop], state, model.draw_masks(text.shape[1], masks))
        loss = model.loss(output, text[start + 1 : stop + 1])
        if not torch.isfinite(loss.cross_entropy):
            return step
        gradients = torch.autograd.grad(loss.total, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= config.optimizer.learning_rate * (
                    gradient + config.regularization.weight_decay * parameter
                )
        state = [(hidden.detach(), cell.detach()) for hidden, cell in output.state]
    raise AssertionError("this run does not diverge")


@pytest.mark.parametrize("rate", [1e10, 1e19, 1e30])
def test_a_loss_that_is_not_finite_is_told_with_phase_epoch_and_step(rate):
    config = tiny_config(optimizer={"learning_rate": rate, "clip_norm": None}, windows={"variable": False})
    with pytest.raises(DivergedError) as caught:
        train(config)
    error = caught.value
    assert (error.phase, error.epoch, error.step) == ("train", 1, first_step_not_finite(config, SEED))
    assert f"phase train, epoch 1, step {error.step}" in str(error)


def test_divergence_in_fine_tuning_is_told_as_such():
    config = tiny_config(
        optimizer={"clip_norm": None, "learning_rate": 0.1}, finetuning={"epochs": 2, "learning_rate": 1e30}
    )
    with pytest.raises(DivergedError) as caught:
        train(config)
    assert (caught.value.phase, caught.value.epoch) == ("finetune", 1)


def test_divergence_at_the_last_step_shows_in_validation():
    # the only window of the epoch: its loss is from before the step
    config = tiny_config(
        optimizer={"clip_norm": None, "learning_rate": 1e30}, windows={"length": 10_000, "variable": False}
    )
    with pytest.raises(DivergedError) as caught:
        train(config)
    assert (caught.value.phase, caught.value.epoch, caught.value.step) == ("train", 1, None)
    assert "validation" in str(caught.value)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_too_short_for_its_batch_is_refused_before_training(split):
    short = replace(CORPUS, **{split: getattr(CORPUS, split)[:1]})
    with pytest.raises(CorpusError, match=split):
        Trainer(tiny_config(), short, SEED)


@pytest.mark.parametrize(("method", "rate"), [("sgd", 5.0), ("asgd", 5.0), ("nt-asgd", 5.0), ("adam", 0.02)])
def test_training_learns_a_sentence_that_repeats(method, rate):
    line = b"the cat sat on the mat and the dog ran\n"
    contents = {"train": 40 * line, "valid": 10 * line, "test": 10 * line}
    corpus = encode(make_text("lesson", contents, dict.fromkeys(contents, "lesson")))
    config = tiny_config(
        model={"hidden_size": 16, "embedding_size": 16},
        regularization={"input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0, "weight_decay": 0.0},
        optimizer={"method": method, "learning_rate": rate},
        training={"epochs": 20},
    )
    assert Trainer(config, corpus, SEED).run().test_ppl < 0.5 * len(corpus.words)


def test_a_run_is_its_parts():
    """Epoch by epoch, and the first epoch step by step."""
    config = tiny_config(**CONFIGS["nt-asgd and fine-tuning"])
    trainer, whole = Trainer(config, CORPUS, SEED), train(config)
    for window in windows(len(trainer.train_data), config.windows, trainer.streams["window lengths"]):
        trainer.model.eval()  # as a caller may leave it
        assert math.isfinite(trainer.step(window))
    records = []
    while not trainer.trained:
        records.append(trainer.epoch())
    assert [facts(record) for record in records] == [facts(record) for record in whole.epochs]
    assert trainer.epochs == records
    with pytest.raises(RuntimeError, match="both phases are over"):
        trainer.epoch()
    result = trainer.finish()
    assert (result.valid_ppl, result.test_ppl) == (whole.valid_ppl, whole.test_ppl)
    assert_same_weights(result.model.state_dict(), whole.model.state_dict())


def test_training_never_looks_at_the_test_split():
    trainer = Trainer(tiny_config(finetuning={"epochs": 1}), CORPUS, SEED)
    other = Trainer(tiny_config(finetuning={"epochs": 1}), replace(CORPUS, test=CORPUS.valid), SEED)
    trainer.train()
    other.train()
    assert trainer.trained
    assert_same_weights(other.best.weights, trainer.best.weights)
    assert other.finish().test_ppl != trainer.finish().test_ppl
