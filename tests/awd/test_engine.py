import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from awd import engine as engine_module
from awd.config import ModelConfig, OptimizerConfig
from awd.dropout import Masks
from awd.engine import PLAIN, Engine, FastEngine, TorchEngine, make_engine, multiplies_bfloat16
from awd.evaluation import evaluate
from awd.model import AWDLSTM
from awd.optim import Stepper
from awd.streams import Streams
from awd.trainer import Trainer
from awd.windows import windows
from tests.awd.engines import BF16, ENGINES, FP32, label
from tests.awd.tiny import tiny_config, tiny_corpus

VOCABULARY, TIME, BATCH = 11, 6, 3
SIZES = ModelConfig(embedding_size=5, hidden_size=7, num_layers=3)
CORPUS = tiny_corpus()
every_engine = pytest.mark.parametrize("engine", ENGINES, ids=label)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make(engine: Engine = PLAIN) -> AWDLSTM:
    return AWDLSTM(VOCABULARY, SIZES, streams=Streams(0), engine=engine)


def text(rows: int = TIME + 1) -> Tensor:
    return torch.randint(VOCABULARY, (rows, BATCH), generator=torch.Generator().manual_seed(1))


def masks_on(device: torch.device, masks: Masks) -> Masks:
    moved = {
        name: tuple(mask.to(device) for mask in value) if isinstance(value, tuple) else value.to(device)
        for name, value in vars(masks).items()
    }
    return Masks(**moved)


def loss_of(model: AWDLSTM) -> Tensor:
    """A training loss, with the masks of seed 2 drawn on the CPU."""
    device, kind = model.decoder.bias.device, model.decoder.bias.dtype
    tokens = text().to(device)
    masks = masks_on(device, make().to(kind).draw_masks(BATCH, Streams(2)))
    return model.loss(model(tokens[:-1], model.initial_state(BATCH), masks), tokens[1:]).total


def gradients_of(model: AWDLSTM) -> dict[str, Tensor]:
    loss_of(model).backward()
    return {name: parameter.grad.cpu() for name, parameter in model.named_parameters()}


def functions_behind(loss: Tensor) -> set[str]:
    """Names of the autograd functions that a loss was computed by."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in seen:
            seen.add(function)
            waiting += [following for following, _ in function.next_functions]
    return {function.name() for function in seen}


OWN = {"FastLSTMBackward", "FastCrossEntropyBackward"}


@every_engine
@pytest.mark.usefixtures("at_any_size")
def test_each_engine_computes_with_its_own_functions(engine):
    assert OWN & functions_behind(loss_of(make(engine))) == (OWN if engine.name == "fast" else set())


def test_the_fast_engine_leaves_narrow_layers_and_small_vocabularies_to_torch():
    assert not OWN & functions_behind(loss_of(make(FastEngine())))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_layer_is_written_out_from_the_width_on_at_which_that_is_faster(monkeypatch, precision):
    operand = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for narrowest, own in ((7, True), (8, False)):
        monkeypatch.setattr(engine_module, "_NARROWEST", {operand: narrowest})
        # the last layer has 5 units
        functions = functions_behind(loss_of(make(FastEngine(precision))))
        assert ("FastLSTMBackward" in functions) == own


@pytest.mark.parametrize("engine", [FastEngine("fp32"), FastEngine("bf16")], ids=label)
def test_at_the_papers_size_its_own_functions_are_as_exact_as_what_they_multiply(engine):
    tokens = torch.randint(10_000, (28, 4), generator=torch.Generator().manual_seed(1))
    gradients = []
    for kind, of in ((torch.float32, engine), (torch.float64, PLAIN)):
        model = AWDLSTM(10_000, streams=Streams(0), engine=of).to(kind)
        masks = model.draw_masks(4, Streams(2))
        loss = model.loss(model(tokens[:-1], model.initial_state(4), masks), tokens[1:]).total
        assert (functions_behind(loss) >= OWN) == (of is engine)
        loss.backward()
        gradients.append([parameter.grad.double() for parameter in model.parameters()])
    for mine, exact in zip(*gradients, strict=True):
        # measured at most: 8e-7, 6.4e-3
        assert (mine - exact).norm() <= {"fp32": 2.5e-6, "bf16": 2e-2}[engine.precision] * exact.norm()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "kind"), [("auto", FastEngine), ("fast", FastEngine), ("torch", TorchEngine)], ids=str
    )
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_make_the_engine_they_say(self, name, kind, precision):
        engine = make_engine(name, precision, "cpu")
        assert type(engine) is kind
        assert engine.precision == precision
        assert engine == kind(precision)

    @pytest.mark.parametrize("name", ["auto", "fast", "torch"])
    @pytest.mark.parametrize(("multiplies", "precision"), [(True, "bf16"), (False, "fp32")])
    def test_auto_precision_is_bf16_only_where_the_processor_multiplies_it(
        self, monkeypatch, name, multiplies, precision
    ):
        monkeypatch.setattr(engine_module, "multiplies_bfloat16", lambda device: multiplies)
        assert make_engine(name, "auto", "cpu").precision == precision
        assert make_engine(name, "fp32", "cpu").precision == "fp32"
        assert make_engine(name, "bf16", "cpu").precision == "bf16"

    @pytest.mark.parametrize(
        ("has", "multiplies"),
        [
            ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
            ({"avx512_bf16": True}, True),
            ({"amx_bf16": True}, True),
            ({"architecture": "aarch64", "bf16": True}, True),
            ({}, False),
        ],
        ids=str,
    )
    def test_a_processor_is_judged_by_its_instructions(self, monkeypatch, has, multiplies):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
        assert multiplies_bfloat16("cpu") is multiplies

    def test_there_is_no_other(self):
        with pytest.raises(KeyError):
            make_engine("FAST", "fp32", "cpu")

    @pytest.mark.parametrize("engine", BF16, ids=label)
    def test_bf16_is_of_float32_alone(self, engine):
        assert engine.operand(torch.float32) == torch.bfloat16
        assert engine.operand(torch.float64) == torch.float64
        assert PLAIN.operand(torch.float32) == torch.float32


@pytest.mark.usefixtures("at_any_size")
class TestEvaluation:
    """It is PyTorch's own kernels in the model's own precision, whatever trained the model."""

    @every_engine
    def test_gives_the_same_bits(self, engine):
        mine, plain = (model.eval() for model in (make(engine), make()))
        losses = []
        for model in (mine, plain):
            losses.append(model.loss(model(text()[:-1], model.initial_state(BATCH)), text()[1:]).cross_entropy)
        assert losses[0].item() == losses[1].item()
        assert not OWN & functions_behind(losses[0])
        assert evaluate(mine, text(40)) == evaluate(plain, text(40))

    @every_engine
    def test_does_so_between_two_steps_of_training(self, engine):
        model = make(engine).train()
        before = loss_of(model).item()
        assert evaluate(model, text(40)) == evaluate(make(), text(40))
        assert loss_of(model).item() == before

    @pytest.mark.parametrize("engine", BF16, ids=label)
    def test_rounds_nothing_though_training_does(self, engine):
        tokens, state = text()[:-1], make().initial_state(BATCH)
        masks = make().draw_masks(BATCH, Streams(2))
        assert not torch.equal(make(engine)(tokens, state, masks).raw, make()(tokens, state, masks).raw)
        assert torch.equal(make(engine).eval()(tokens, state).raw, make().eval()(tokens, state).raw)


@every_engine
def test_masks_and_initial_weights_are_those_of_the_seed(engine):
    torch.testing.assert_close(make(engine).state_dict(), make().state_dict(), rtol=0, atol=0)
    mine, plain = (model.draw_masks(BATCH, Streams(2)) for model in (make(engine), make()))
    torch.testing.assert_close(vars(mine), vars(plain), rtol=0, atol=0)


@every_engine
@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_keeps_its_engine(engine, copied):
    model = make(engine)
    other = copied(model)
    assert [part.engine for part in (other, *other.layers)] == [engine] * 4
    assert loss_of(other).item() == loss_of(model).item()


@pytest.mark.parametrize("engine", BF16, ids=label)
@pytest.mark.usefixtures("at_any_size")
def test_in_bf16_weights_gradients_outputs_state_and_average_are_float32(engine):
    model = make(engine)
    stepper = Stepper(model, OptimizerConfig(method="asgd"), 1.0, 1e-3)
    output = model(text()[:-1], model.initial_state(BATCH), model.draw_masks(BATCH, Streams(2)))
    loss = model.loss(output, text()[1:])
    gradients = gradients_of(model)
    stepper.step(loss.total)
    kept = [output.raw, output.dropped, *[part for pair in output.state for part in pair], loss.total]
    kept += [*model.parameters(), *gradients.values(), *stepper.evaluated.parameters()]
    assert stepper.evaluated is not model
    assert {tensor.dtype for tensor in kept} == {torch.float32}


@every_engine
@pytest.mark.usefixtures("at_any_size")
def test_a_step_smaller_than_a_bfloat16_can_tell_moves_the_weights(engine):
    """As it would not if the weights themselves were rounded: 2 ** -13 of a weight is less than half its last bit."""
    model = make(engine)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    Stepper(model, OptimizerConfig(method="sgd", clip_norm=None), 1e-12, 2.0**-13 / 1e-12).step(loss_of(model))
    for now, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(now.detach(), (1 - 2.0**-13) * old, rtol=1e-6, atol=1e-9)


def perplexities(changes: dict[str, dict], engine: Engine) -> list[float]:
    """Those of every epoch, in training and in validation, and that of test."""
    result = Trainer(tiny_config(**changes), CORPUS, 0, engine=engine).run()
    of_epochs = [perplexity for epoch in result.epochs for perplexity in (epoch.train_ppl, epoch.valid_ppl)]
    return [*of_epochs, result.test_ppl]


RUNS = {
    "sgd": {},
    "nt-asgd and fine-tuning": {
        "optimizer": {"method": "nt-asgd", "learning_rate": 30.0},
        "training": {"epochs": 6},
        "finetuning": {"epochs": 5},
    },
}
every_run = pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)


@pytest.mark.usefixtures("at_any_size")
class TestRuns:
    @pytest.mark.usefixtures("double")
    @pytest.mark.parametrize("engine", [FastEngine(), *BF16], ids=label)
    @every_run
    def test_of_all_engines_are_one_in_double_precision(self, engine, changes):
        assert perplexities(changes, engine) == pytest.approx(perplexities(changes, PLAIN), rel=1e-9)

    @every_run
    def test_of_both_engines_stay_together_in_single_precision(self, changes):
        # measured: 3e-6 after eleven epochs
        assert perplexities(changes, FastEngine()) == pytest.approx(perplexities(changes, PLAIN), rel=1e-5)

    @pytest.mark.parametrize("engine", BF16, ids=label)
    def test_in_bfloat16_stay_near_those_in_float32_but_are_not_they(self, engine):
        found, expected = perplexities(RUNS["sgd"], engine), perplexities(RUNS["sgd"], PLAIN)
        # measured: 1.2e-3
        assert found == pytest.approx(expected, rel=4e-3)
        assert found != pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("engine", ENGINES, ids=label)
    def test_repeat_to_the_bit(self, engine):
        assert perplexities(RUNS["sgd"], engine) == perplexities(RUNS["sgd"], engine)


@every_engine
@pytest.mark.usefixtures("at_any_size")
def test_a_loss_is_nan_where_a_weight_is(engine):
    model = make(engine)
    with torch.no_grad():
        model.layers[1].weight_hh.fill_(float("nan"))
    assert loss_of(model).isnan()


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(("engine", "tolerance"), list(zip(ENGINES, [1e-5] * 2 + [0.12] * 2, strict=True)), ids=str)
def test_cuda_agrees_with_the_plain_engine_on_the_cpu(monkeypatch, engine, tolerance):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    monkeypatch.setattr(engine_module, "_FEWEST_LOGITS", 0)
    expected, found = gradients_of(make()), gradients_of(make(engine).cuda())
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() <= tolerance * expected[name].norm(), name


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("engine", FP32, ids=label)
def test_cuda_agrees_in_double_precision(monkeypatch, engine):
    monkeypatch.setattr(engine_module, "_FEWEST_LOGITS", 0)
    found, expected = gradients_of(make(engine).double().cuda()), gradients_of(make().double())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


class NothingIsAsked(TorchDispatchMode):
    """Refuses what makes a host wait for a device: values read from tensors, shapes that depend on values, copies of
    host values."""

    asking = ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal", "_unique", "unique_dim", "lift_fresh")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition("::")[2].partition(".")[0]
        assert name not in self.asking, name
        assert name != "index" or all(index is None or index.dtype != torch.bool for index in args[1]), "boolean index"
        return func(*args, **(kwargs or {}))


@every_engine
@pytest.mark.parametrize("method", ["asgd", "adam"])
@pytest.mark.usefixtures("at_any_size")
def test_a_step_asks_for_no_value(engine, method):
    config = tiny_config(optimizer={"method": method, "lambd": 1e-4 * (method == "asgd")})
    trainer = Trainer(config, CORPUS, 0, engine=engine)
    lengths = trainer.streams["window lengths"]
    first, second, *rest = windows(len(trainer.train_data), config.windows, lengths)
    trainer.step(first)  # in which the average is made
    trainer.step(second)
    with NothingIsAsked():
        for window in rest[:3]:
            trainer.step(window)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NothingIsAsked():
        trainer.position.losses[-1].item()


@pytest.mark.gpu
@needs_cuda
@every_engine
def test_no_step_of_an_epoch_waits_for_the_device(monkeypatch, engine):
    monkeypatch.setattr(engine_module, "_FEWEST_LOGITS", 0)
    config = tiny_config(optimizer={"method": "asgd"}, training={"epochs": 1})
    trainer = Trainer(config, CORPUS, 0, device="cuda", engine=engine)
    check, read = Trainer._check_finite, []

    def strict_from_the_third_window_on(model: AWDLSTM, inputs: tuple[Tensor, ...]) -> None:
        if model.training:
            read.append(inputs[0])
            torch.cuda.set_sync_debug_mode("error" if len(read) > 2 else "default")

    def lenient(*arguments) -> None:
        # an epoch ends with a look at its losses, which has to wait
        torch.cuda.set_sync_debug_mode("default")
        check(*arguments)

    trainer.model.register_forward_pre_hook(strict_from_the_third_window_on)
    monkeypatch.setattr(Trainer, "_check_finite", lenient)
    try:
        trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(read) > 5
