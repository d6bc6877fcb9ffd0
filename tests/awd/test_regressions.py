"""How ports of AWD-LSTM went wrong: each fault is put in, and the check that passes on the real code must catch it."""

import copy
import functools
import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awd import dropout
from awd import model as model_module
from awd import trainer as trainer_module
from awd.config import ModelConfig, OptimizerConfig, RegularizationConfig
from awd.corpus import text as corpus_text
from awd.dropout import Masks
from awd.engine import PLAIN, Engine
from awd.lstm import WeightDropLSTM
from awd.model import AWDLSTM
from awd.optim import NonMonotonicTrigger, Stepper
from awd.streams import Streams
from awd.trainer import Trainer
from tests.awd.by_hand import run_by_hand
from tests.awd.engines import FP32, label
from tests.awd.tiny import tiny_config, tiny_corpus

VOCABULARY, TIME, BATCH = 11, 6, 3
SIZES = ModelConfig(embedding_size=5, hidden_size=7, num_layers=3)
pytestmark = pytest.mark.usefixtures("at_any_size")
in_both_engines = pytest.mark.parametrize("engine", FP32, ids=label)


def make(
    regularization: RegularizationConfig | None = None,
    model_class: type[AWDLSTM] = AWDLSTM,
    layer_class: type[WeightDropLSTM] = WeightDropLSTM,
    engine: Engine = PLAIN,
) -> AWDLSTM:
    model = model_class(VOCABULARY, SIZES, regularization, streams=Streams(0), engine=engine)
    if layer_class is not WeightDropLSTM:
        weights = model.state_dict()
        model.layers = nn.ModuleList(layer_class(*size, engine) for size in SIZES.layer_sizes)
        model.load_state_dict(weights)
    return model


def text() -> Tensor:
    return torch.randint(VOCABULARY, (TIME + 1, BATCH), generator=torch.Generator().manual_seed(1))


def run(model: AWDLSTM, masks: Masks | None = None) -> Tensor:
    """A training loss, with the masks of seed 2 unless told otherwise."""
    tokens = text()
    masks = masks or model.draw_masks(BATCH, Streams(2))
    return model.loss(model(tokens[:-1], model.initial_state(BATCH), masks), tokens[1:]).total


def catches(check: Callable[..., None], *faulty: Any) -> None:
    with pytest.raises(AssertionError):
        check(*faulty)


class IgnoresItsMask(WeightDropLSTM):
    def forward(self, inputs, state, weight_mask=None):
        return super().forward(inputs, state, None)


class DropsACopyWithoutGradient(WeightDropLSTM):
    def forward(self, inputs, state, weight_mask=None):
        raw = self.weight_hh
        del self.weight_hh
        self.weight_hh = (raw if weight_mask is None else raw * weight_mask).detach()
        try:
            return super().forward(inputs, state, None)
        finally:
            del self.weight_hh
            self.weight_hh = raw


class LetsGradientsPastTheMask(WeightDropLSTM):
    def forward(self, inputs, state, weight_mask=None):
        if weight_mask is None:
            return super().forward(inputs, state)
        raw = self.weight_hh
        del self.weight_hh
        self.weight_hh = raw + (raw * weight_mask - raw).detach()
        try:
            return super().forward(inputs, state)
        finally:
            del self.weight_hh
            self.weight_hh = raw


class StopsAtTheFirstEvaluation(WeightDropLSTM):
    drops = True

    def train(self, mode=True):
        self.drops = self.drops and mode
        return super().train(mode)

    def forward(self, inputs, state, weight_mask=None):
        return super().forward(inputs, state, weight_mask if self.drops else None)


def check_the_kernel_uses_the_dropped_weights(engine: Engine, layer_class: type[WeightDropLSTM]) -> None:
    """Masked weights given as a mask, and written into torch's own LSTM, are the same network."""
    layer, kernel = layer_class(4, 5, engine), nn.LSTM(4, 5)
    mask = dropout.bernoulli_mask((20, 5), 0.3, Streams(0)["mask"], torch.device("cpu"), torch.float32)
    with torch.no_grad():
        for name in ("weight_ih", "bias_ih", "bias_hh"):
            getattr(kernel, f"{name}_l0").copy_(getattr(layer, name))
        kernel.weight_hh_l0.copy_(mask * layer.weight_hh)
    inputs, state = torch.randn(TIME, BATCH, 4), torch.randn(BATCH, 5)
    output, (hidden, cell) = layer(inputs, (state, state), mask)
    expected, (expected_hidden, expected_cell) = kernel(inputs, (state[None], state[None]))
    for mine, theirs in [(output, expected), (hidden, expected_hidden[0]), (cell, expected_cell[0])]:
        torch.testing.assert_close(mine, theirs)


def check_gradients_of_raw_weights(engine: Engine, layer_class: type[WeightDropLSTM]) -> None:
    """Where a recurrent weight is dropped its gradient is exactly 0, where it is kept it is not."""
    model = make(layer_class=layer_class, engine=engine)
    masks = model.draw_masks(BATCH, Streams(2))
    # nothing else dropped: a unit without output would have no gradient either
    run(model, replace(dropout.no_masks(3), weight=masks.weight)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    for layer, mask in zip(model.layers, masks.weight, strict=True):
        assert (layer.weight_hh.grad[mask == 0] == 0).all()
        assert (layer.weight_hh.grad[mask != 0] != 0).all()


def check_still_drops_after_evaluation(engine: Engine, layer_class: type[WeightDropLSTM]) -> None:
    model = make(layer_class=layer_class, engine=engine).train()
    masks = model.draw_masks(BATCH, Streams(2))
    before = run(model, masks)
    assert before != run(model, replace(masks, weight=(None, None, None)))
    model.eval()
    model(text(), model.initial_state(BATCH))
    model.train()
    assert run(model, masks) == before


LAYER_FAULTS = [
    (check_the_kernel_uses_the_dropped_weights, IgnoresItsMask),
    (check_gradients_of_raw_weights, IgnoresItsMask),
    (check_gradients_of_raw_weights, DropsACopyWithoutGradient),
    (check_gradients_of_raw_weights, LetsGradientsPastTheMask),
    (check_still_drops_after_evaluation, IgnoresItsMask),
    (check_still_drops_after_evaluation, StopsAtTheFirstEvaluation),
]


@in_both_engines
@pytest.mark.parametrize(("check", "faulty"), LAYER_FAULTS)
def test_weight_dropping_reaches_kernel_and_raw_weights_and_outlives_evaluation(check, faulty, engine):
    check(engine, WeightDropLSTM)
    catches(check, engine, faulty)


@in_both_engines
def test_without_masks_of_its_caller_a_model_in_training_still_drops_after_evaluation(engine):
    model, tokens = make(engine=engine), text()
    state = model.initial_state(BATCH)
    model.eval()
    assert torch.equal(model(tokens, state).raw, model(tokens, state).raw)
    model.train()
    assert not torch.equal(model(tokens, state).raw, model(tokens, state).raw)


def new_mask_at_every_step(mask: Tensor | None, values: Tensor) -> Tensor:
    """Locked masks with time and batch swapped: shared across the batch, varying over time."""
    if mask is None:
        return values
    kept = 1 / mask.max().item()
    return values * (torch.rand(len(values), 1, values.shape[-1]) < kept) / kept


def dropped_units(model: AWDLSTM) -> list[Tensor]:
    """Where each layer's input, and the decoder's, is exactly 0: ``(time, batch, width)`` each."""
    seen: list[Tensor] = []
    handles = [layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] == 0)) for layer in model.layers]
    output = model(text()[:-1], model.initial_state(BATCH), model.draw_masks(BATCH, Streams(2)))
    for handle in handles:
        handle.remove()
    return [*seen, output.dropped == 0]


def check_masks_are_locked(engine: Engine) -> None:
    for zero in dropped_units(make(RegularizationConfig(embedding_dropout=0.0), engine=engine)):
        assert zero.any()
        assert not zero.all()
        for step in range(1, TIME):
            assert torch.equal(zero[step], zero[0]), "a mask that varies over time"
        assert not torch.equal(zero[:, 0], zero[:, 1]), "a mask shared across the batch"


@in_both_engines
def test_locked_masks_are_constant_over_time_and_differ_across_the_batch(monkeypatch, engine):
    check_masks_are_locked(engine)
    monkeypatch.setattr(model_module, "apply", new_mask_at_every_step)
    catches(check_masks_are_locked, engine)


PROBABILITIES = RegularizationConfig(
    embedding_dropout=0.1, input_dropout=0.2, hidden_dropout=0.3, output_dropout=0.4, weight_dropout=0.35
)


def swap(first: str, second: str) -> Callable[..., Masks]:
    def draw(model, regularization, *args, **kwargs):
        mixed = replace(
            regularization, **{first: getattr(regularization, second), second: getattr(regularization, first)}
        )
        return dropout.draw_masks(model, mixed, *args, **kwargs)

    return draw


def check_every_probability_reaches_its_own_mask() -> None:
    masks = make(PROBABILITIES).draw_masks(64, Streams(0))
    for name, p in [("embedding", 0.1), ("input", 0.2), ("hidden", 0.3), ("output", 0.4), ("weight", 0.35)]:
        found = getattr(masks, name)
        for mask in found if isinstance(found, tuple) else (found,):
            assert mask.max().item() == pytest.approx(1 / (1 - p)), name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("input_dropout", "hidden_dropout"),
        ("hidden_dropout", "output_dropout"),
        ("output_dropout", "weight_dropout"),
        ("embedding_dropout", "input_dropout"),
    ],
)
def test_dropout_arguments_are_not_swapped(monkeypatch, first, second):
    check_every_probability_reaches_its_own_mask()
    monkeypatch.setattr(model_module, "draw_masks", swap(first, second))
    catches(check_every_probability_reaches_its_own_mask)


class DropsWordsFromTheSoftmax(AWDLSTM):
    def forward(self, tokens, state, masks=None):
        self.mask = masks.embedding
        return super().forward(tokens, state, masks)

    def loss(self, output, targets):
        whole = self.decoder.weight
        del self.decoder.weight
        self.decoder.weight = self.mask * whole
        try:
            return super().loss(output, targets)
        finally:
            del self.decoder.weight
            self.decoder.weight = whole


def check_the_softmax_keeps_every_word(engine: Engine, model_class: type[AWDLSTM] = AWDLSTM) -> None:
    model = make(RegularizationConfig(embedding_dropout=0.4), model_class, engine=engine)
    masks = model.draw_masks(BATCH, Streams(2))
    assert (masks.embedding == 0).any()
    output, targets = model(text()[:-1], model.initial_state(BATCH), masks), text()[1:]
    logits = output.dropped @ model.embedding.weight.T + model.decoder.bias
    torch.testing.assert_close(model.logits(output), logits)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(model.loss(output, targets).cross_entropy, expected)


@in_both_engines
def test_embedding_dropout_does_not_touch_the_softmax(engine):
    check_the_softmax_keeps_every_word(engine)
    catches(check_the_softmax_keeps_every_word, engine, DropsWordsFromTheSoftmax)


class KeepsTheDroppedMatrix(WeightDropLSTM):
    """As the old hooks did: the masked matrix, which belongs to a graph, becomes an attribute."""

    def forward(self, inputs, state, weight_mask=None):
        self.dropped = self.weight_hh if weight_mask is None else weight_mask * self.weight_hh
        return super().forward(inputs, state, weight_mask)


class CopiesInsteadOfTying(AWDLSTM):
    def reset_parameters(self, streams=None):
        self.decoder.weight = nn.Parameter(self.embedding.weight.detach().clone())
        super().reset_parameters(streams)
        self.decoder.weight.data.copy_(self.embedding.weight)


def through_pickle(model: AWDLSTM) -> AWDLSTM:
    return pickle.loads(pickle.dumps(model))


def through_a_state_dict(model: AWDLSTM) -> AWDLSTM:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = AWDLSTM(VOCABULARY, SIZES, streams=Streams(99), engine=model.engine)
    other.load_state_dict(torch.load(file))
    return other


def as_made(model: AWDLSTM) -> AWDLSTM:
    return model


COPIES = [copy.deepcopy, through_pickle, through_a_state_dict]


@in_both_engines
@pytest.mark.parametrize("copied", COPIES)
def test_a_model_in_training_survives_a_copy(copied, engine):
    model = make(engine=engine).train()
    run(model).backward()
    other = copied(model)
    assert other.training
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert run(other) == run(model)
    with torch.no_grad():
        other.embedding.weight.zero_()
    assert run(other) != run(model)


def test_a_dropped_matrix_kept_as_an_attribute_would_not_survive_it():
    model = make(layer_class=KeepsTheDroppedMatrix).train()
    run(model).backward()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)


def check_stays_tied(model_class: type[AWDLSTM], moved: Callable[[AWDLSTM], AWDLSTM]) -> None:
    model = moved(make(model_class=model_class))
    assert model.decoder.weight is model.embedding.weight
    Stepper(model, OptimizerConfig(method="sgd"), 30.0, 0.0).step(run(model))
    assert torch.equal(model.decoder.weight, model.embedding.weight)


@pytest.mark.parametrize("moved", [*COPIES, AWDLSTM.double, as_made])
def test_tied_weights_stay_tied(moved):
    check_stays_tied(AWDLSTM, moved)
    if moved is not through_a_state_dict:
        catches(check_stays_tied, CopiesInsteadOfTying, moved)


class IgnoresTheWindow(Stepper):
    def step(self, loss, rate_scale=1.0):
        super().step(loss)


class ValidatesTheRawWeights(Stepper):
    @property
    def evaluated(self):
        return self.model


class StepsByTorchASGD(Stepper):
    """``torch.optim.ASGD`` with the window's rate put into its group, and its own average."""

    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, config, learning_rate, weight_decay)
        self.optimizer = torch.optim.ASGD(self.parameters, lr=learning_rate, lambd=0, alpha=0, t0=0)

    @property
    def evaluated(self):
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for mine, raw in zip(model.parameters(), self.parameters, strict=True):
                mine.copy_(self.optimizer.state[raw]["ax"])
        return model


class AveragesFromTheBestWeights(Trainer):
    def enter(self, phase):
        super().enter(phase)
        start = self.stepper.start_averaging

        def from_the_best():
            self._take_best_weights()
            start()

        if self.stepper.config.method == "nt-asgd":
            self.stepper.start_averaging = from_the_best


class ComparesWithTheLastChecks(NonMonotonicTrigger):
    def check(self, value):
        recent = self.history[-self.interval :]
        fired = len(self.history) > self.interval and value > min(recent)
        self.history.append(value)
        return fired


CORPUS = tiny_corpus()
CONFIG = tiny_config(
    optimizer={"method": "nt-asgd", "learning_rate": 30.0}, training={"epochs": 5}, finetuning={"epochs": 1}
)


@functools.cache
def perplexities_by_hand() -> list[float]:
    return [epoch.valid_ppl for epoch in run_by_hand(CONFIG, CORPUS, 0)]


def check_a_run_is_its_loop_written_out(trainer_class: type[Trainer] = Trainer) -> None:
    perplexities = [epoch.valid_ppl for epoch in trainer_class(CONFIG, CORPUS, 0).run().epochs]
    assert perplexities == pytest.approx(perplexities_by_hand(), rel=1e-6)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("faulty", [IgnoresTheWindow, ValidatesTheRawWeights])
def test_a_run_scales_its_rates_and_validates_its_averages(monkeypatch, faulty):
    check_a_run_is_its_loop_written_out()
    monkeypatch.setattr(trainer_module, "Stepper", faulty)
    catches(check_a_run_is_its_loop_written_out)


@pytest.mark.usefixtures("double")
def test_a_run_averages_from_its_current_weights():
    check_a_run_is_its_loop_written_out()
    catches(check_a_run_is_its_loop_written_out, AveragesFromTheBestWeights)


def check_the_slice_of_the_trigger(trigger_class: type[NonMonotonicTrigger]) -> None:
    trigger = trigger_class(5)
    fired = [trigger.check(value) for value in [100, 90, 95, 94, 93, 92, 91, 91]]
    assert fired.index(True) + 1 == 8


def test_the_trigger_compares_with_all_but_the_last_checks():
    check_the_slice_of_the_trigger(NonMonotonicTrigger)
    catches(check_the_slice_of_the_trigger, ComparesWithTheLastChecks)


RATE_SCALES = (1.0, 0.5, 1.0, 2.0)


def walk(stepper_class: type[Stepper]) -> tuple[list[float], Stepper]:
    """Positions of one weight that falls at a constant slope of 1, at rates 30, 15, 30, 60."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    stepper = stepper_class(model, OptimizerConfig(method="asgd", clip_norm=None), 30.0, 0.0)
    positions = []
    for scale in RATE_SCALES:
        stepper.step(model.weight.sum(), scale)
        positions.append(model.weight.item())
    return positions, stepper


def check_a_rate_lands_on_its_own_step(stepper_class: type[Stepper]) -> None:
    assert walk(stepper_class)[0] == [-30, -45, -75, -135]


def check_the_average_has_every_iterate(stepper_class: type[Stepper]) -> None:
    positions, stepper = walk(stepper_class)
    assert stepper.evaluated.weight.item() == pytest.approx(sum(positions) / len(positions))


@pytest.mark.parametrize("check", [check_a_rate_lands_on_its_own_step, check_the_average_has_every_iterate])
def test_torch_asgd_is_late_by_a_step_and_leaves_out_the_first_iterate(check):
    check(Stepper)
    catches(check, StepsByTorchASGD)
    assert walk(StepsByTorchASGD)[0] == [-30, -60, -75, -105]


def check_a_corpus_is_known_by_its_content() -> None:
    def sha256(folder: str, train: bytes) -> str:
        contents = {"train": train, "valid": b"a b\n", "test": b"a b\n"}
        return corpus_text.make_text(folder, contents, {split: f"{folder}/{split}.txt" for split in contents}).sha256

    assert sha256("here", b"a b\n") == sha256("there", b"a b\n")
    assert sha256("here", b"a b\n") != sha256("here", b"b a\n")


def test_a_corpus_is_known_by_its_content_not_its_path(monkeypatch):
    check_a_corpus_is_known_by_its_content()
    real = corpus_text.make_text

    def keyed_on_the_path(name, contents, sources):
        return replace(real(name, contents, sources), sha256=sources["train"])

    monkeypatch.setattr(corpus_text, "make_text", keyed_on_the_path)
    catches(check_a_corpus_is_known_by_its_content)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_cuda_agree_on_loss_and_gradients():
    on_cpu = make().double()
    masks = on_cpu.draw_masks(BATCH, Streams(2))
    run(on_cpu, masks).backward()
    on_cuda = make().double().cuda()
    tokens = text().cuda()
    moved = Masks(
        **{
            name: tuple(mask.cuda() for mask in value) if isinstance(value, tuple) else value.cuda()
            for name, value in vars(masks).items()
        }
    )
    output = on_cuda(tokens[:-1], on_cuda.initial_state(BATCH), moved)
    on_cuda.loss(output, tokens[1:]).total.backward()
    for (name, mine), theirs in zip(on_cpu.named_parameters(), on_cuda.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.cpu(), rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_starts_from_the_same_weights_and_has_the_same_windows():
    trainers = [Trainer(tiny_config(), CORPUS, 0, device=device) for device in ("cpu", "cuda")]
    for mine, theirs in zip(*(trainer.model.parameters() for trainer in trainers), strict=True):
        assert torch.equal(mine.cpu(), theirs.cpu())
    windows: list[list[Tensor]] = [[], []]
    for trainer, seen in zip(trainers, windows, strict=True):
        trainer.model.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].cpu()))
        trainer.run()
    torch.testing.assert_close(windows[0], windows[1], rtol=0, atol=0)
