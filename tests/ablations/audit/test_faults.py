"""Each fault turns red the cells of what it breaks, and no other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ablations.audit import audit_config
from awd.config import Config
from awd.engine import PLAIN, Engine, State, TorchEngine
from awd.lstm import WeightDropLSTM
from awd.optim import Stepper
from tests.ablations.audit import faults
from tests.ablations.audit.conftest import small_config
from tests.awd import test_regressions as regressions
from tests.awd.engines import ENGINES, label
from tests.awd.tiny import tiny_corpus

CORPUS = tiny_corpus()
FULL = small_config()
BOTH_PHASES = {"averaging", "fine-tuning"}

FAULTS = [
    ("mask not applied", faults.layer(regressions.IgnoresItsMask), {"weight drop"}),
    # a parameter without gradient is passed over by the optimizer, so that it does not decay either
    ("mask without gradient", faults.layer(regressions.DropsACopyWithoutGradient), {"weight drop", "weight decay"}),
    ("gradients past the mask", faults.layer(regressions.LetsGradientsPastTheMask), {"weight drop"}),
    ("kept weights not scaled", faults.layer(faults.DoesNotScaleWhatItKeeps), {"weight drop"}),
    ("weight drop ends at an evaluation", faults.layer(regressions.StopsAtTheFirstEvaluation), {"after eval"}),
    ("output dropout ends at an evaluation", faults.model(faults.DropsOutputOnlyInFirstTraining), {"after eval"}),
    ("a mask for every step", faults.new_mask_every_step, {"input drop", "hidden drop", "output drop"}),
    ("input mask shared", faults.shared_across_the_batch("input"), {"input drop"}),
    ("hidden mask shared", faults.shared_across_the_batch("hidden"), {"hidden drop"}),
    ("output mask shared", faults.shared_across_the_batch("output"), {"output drop"}),
    (
        "masks never drawn again",
        faults.never_drawn_again(),
        {"embed drop", "input drop", "hidden drop", "output drop", "weight drop"},
    ),
    (
        "masks not scaled",
        faults.unscaled,
        {"embed drop", "input drop", "hidden drop", "output drop", "weight drop"},
    ),
    ("recurrent units dropped instead of weights", faults.whole_columns, {"weight drop"}),
    ("tokens dropped instead of words", faults.tokens_instead_of_words, {"embed drop"}),
    ("embedding dropout in the softmax", faults.model(faults.DropsWordsFromTheSoftmax), {"softmax"}),
    ("AR on undropped output", faults.model(faults.PenalisesUndroppedOutput), {"AR"}),
    ("AR summed", faults.model(faults.AddsUpSquares), {"AR"}),
    ("TAR on dropped output", faults.model(faults.ComparesDroppedOutputs), {"TAR"}),
    ("AR and TAR reported only", faults.model(faults.ReportsPenaltiesButLearnsNothingFromThem), {"AR", "TAR"}),
    ("dropout in evaluation", faults.model(faults.DropsInEvaluation), {"evaluation"}),
    ("weight drop in evaluation", faults.layer(faults.DropsWeightsInEvaluation), {"evaluation"}),
    ("copied instead of tied", faults.model(faults.CopiesInsteadOfTying), {"width"}),
    ("state not carried", faults.model(faults.ForgetsTheState), {"windows"}),
    # where the text ended is not known then, nor which windows were cut short
    ("windows left out", faults.trainer(faults.SkipsEveryOtherWindow), {"windows", "rate", "fine-tuning"}),
    ("no short windows", faults.lengths(faults.never_short), {"windows"}),
    ("twice the spread", faults.lengths(faults.twice_the_spread), {"windows"}),
    ("lengths rounded up", faults.lengths(faults.rounded_up), {"windows"}),
    ("no shortest length", faults.lengths(faults.no_minimum), {"windows"}),
    ("fixed length", faults.lengths(faults.always_the_base), {"windows"}),
    ("rate not scaled by the length", faults.stepper(regressions.IgnoresTheWindow), {"rate", "fine-tuning"}),
    ("rate lands one step late", faults.stepper(faults.RatesLandOneStepLate), {"rate", "fine-tuning"}),
    ("not clipped", faults.stepper(faults.ClipsNothing), {"clipping"}),
    ("no decay", faults.stepper(faults.DecaysNothing), {"weight decay"}),
    ("no decay of biases", faults.stepper(faults.DecaysNoBiases), {"weight decay"}),
    ("decay clipped too", faults.stepper(faults.ClipsTheDecayToo), {"clipping", "weight decay"}),
    ("trigger on the last n", faults.trigger(faults.ComparesWithTheLastChecks), BOTH_PHASES),
    ("trigger at a tie", faults.trigger(faults.FiresAtATie), BOTH_PHASES),
    ("one history for both phases", faults.trainer(faults.RemembersTheFirstPhase), {"fine-tuning"}),
    ("raw weights validated", faults.stepper(regressions.ValidatesTheRawWeights), BOTH_PHASES),
    ("average of the iterate before too", faults.stepper(faults.AveragesWhatWasBefore), BOTH_PHASES),
    ("average without the first iterate", faults.stepper(faults.LeavesOutTheFirstIterate), BOTH_PHASES),
    ("exponential average", faults.stepper(faults.AveragesByExponentialDecay), BOTH_PHASES),
    ("averaging from the best weights", faults.trainer(regressions.AveragesFromTheBestWeights), {"averaging"}),
    ("fine-tuning from the last weights", faults.trainer(faults.FinetunesFromTheLastWeights), {"fine-tuning"}),
    # fine-tuning starts from what was kept
    ("last weights kept", faults.trainer(faults.KeepsTheLastWeights), {"averaging", "fine-tuning"}),
]

# of windows, steps and phases: no engine computes them, so that one engine shows such a fault
OF_THE_LOOP = {"windows", "rate", "clipping", "weight decay", "averaging", "fine-tuning"}


def fault_and_engine() -> Iterator[Any]:
    """All of them; in a quick run one engine each, of what engines compute by turns."""
    for place, (name, put_in, expected) in enumerate(FAULTS):
        quick = ENGINES[0 if expected <= OF_THE_LOOP else place % len(ENGINES)]
        for engine in ENGINES:
            yield quick_if(engine is quick, put_in, expected, engine, id=f"{name}-{label(engine)}")


def quick_if(quick: bool, *values: Any, id: str) -> Any:
    return pytest.param(*values, id=id, marks=[] if quick else [pytest.mark.slow])


def red(config: Config, engine: Engine = PLAIN, seed: int = 1) -> dict[str, str]:
    cells = audit_config(config, CORPUS, engine, seed)
    return {cell.mechanism: "; ".join(map(str, cell.failures)) for cell in cells if not cell.ok}


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize("engine", ENGINES, ids=label)
def test_nothing_is_red_without_a_fault(engine: Engine) -> None:
    assert red(FULL, engine) == {}


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize(("put_in", "expected", "engine"), list(fault_and_engine()))
def test_a_fault_turns_its_own_cells_red(
    monkeypatch: pytest.MonkeyPatch, put_in: faults.Patch, expected: set, engine: Engine
) -> None:
    put_in(monkeypatch)
    found = red(FULL, engine)
    assert found.keys() == expected, found


@pytest.mark.usefixtures("without_onednn")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (5, 6))])
@pytest.mark.parametrize("drops", [{}, {"weight_dropout": 0.0}, {"recurrent_drops": "units"}], ids=str)
def test_nothing_is_red_in_bfloat16_where_it_is_not_multiplied_in_hardware(drops: dict[str, Any], seed: int) -> None:
    """Where outputs, and gradients of weights that were kept, come out as zero now and then."""
    config = small_config(regularization=drops)
    assert red(config, TorchEngine("bf16"), seed) == {}


@pytest.mark.usefixtures("without_onednn")
@pytest.mark.parametrize(
    ("put_in", "expected"),
    [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS if fault[2] & {"weight drop", "softmax", "AR", "TAR"}],
)
def test_nor_does_a_fault_hide_there(monkeypatch: pytest.MonkeyPatch, put_in: faults.Patch, expected: set) -> None:
    put_in(monkeypatch)
    found = red(FULL, TorchEngine("bf16"))
    assert found.keys() == expected, found


class LosesAFewGradients(WeightDropLSTM):
    """One in a thousand recurrent gradients comes out as zero, as a sum of rounded numbers may."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.weight_hh.register_hook(lambda gradient: gradient * (torch.rand_like(gradient) >= 1e-3))


@pytest.mark.parametrize("weight_dropout", [0.5, 0.0])
def test_a_gradient_that_happens_to_be_zero_is_no_dropped_weight(
    monkeypatch: pytest.MonkeyPatch, weight_dropout: float
) -> None:
    faults.layer(LosesAFewGradients)(monkeypatch)
    assert red(small_config(regularization={"weight_dropout": weight_dropout})) == {}


def test_nor_is_it_a_mask_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.layer(LosesAFewGradients)(monkeypatch)
    faults.never_drawn_again()(monkeypatch)
    assert "from window to window: measured the same, expected drawn anew" in red(FULL)["weight drop"]


class IsSilentAtFirst(WeightDropLSTM):
    """In training outputs zeros at the first step, so that nobody can tell which of its units were dropped there."""

    def forward(self, inputs: Tensor, *rest: Any) -> tuple[Tensor, State]:
        outputs, state = super().forward(inputs, *rest)
        return (torch.cat([0 * outputs[:1], outputs[1:]]) if self.training else outputs), state


def test_dropout_that_a_zero_hides_is_not_held_against_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.layer(IsSilentAtFirst)(monkeypatch)
    # whose outputs are not an LSTM's
    assert red(FULL).keys() == {"weight drop"}


PLACES = {
    "embedding_dropout": "embed drop",
    "input_dropout": "input drop",
    "hidden_dropout": "hidden drop",
    "output_dropout": "output drop",
    "weight_dropout": "weight drop",
}


@pytest.mark.parametrize("second", PLACES)
@pytest.mark.parametrize("first", PLACES)
def test_swapped_dropout_arguments_are_told_apart(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    if first >= second:
        return
    faults.swapped(first, second)(monkeypatch)
    found = red(small_config(regularization={"input_dropout": 0.6}))
    # one scale is seen of embedding and input dropout, so that a fault of one may be the other's
    assert (
        {PLACES[first], PLACES[second]}
        <= found.keys()
        <= {*PLACES.values()}
        - (set() if "input_dropout" in (first, second) or "embedding_dropout" in (first, second) else {"input drop"})
    ), found


@pytest.mark.parametrize(
    ("put_in", "expected"),
    [
        (faults.trigger(faults.ComparesWithTheLastChecks), {"rate"}),
        (faults.trigger(faults.FiresAtATie), {"rate"}),
        (faults.stepper(regressions.IgnoresTheWindow), {"rate"}),
    ],
)
def test_faults_of_halving(monkeypatch: pytest.MonkeyPatch, put_in: faults.Patch, expected: set) -> None:
    config = small_config(optimizer={"method": "sgd-halving"}, finetuning={"epochs": 0})
    assert red(config) == {}
    put_in(monkeypatch)
    assert red(config).keys() == expected


CHOICES = {
    "mask_per": ("step", {"input drop", "hidden drop", "output drop"}),
    "embedding_drops": ("units", {"embed drop"}),
    "recurrent_drops": ("units", {"weight drop"}),
}


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize(
    ("choice", "engine"),
    [
        quick_if(engine is ENGINES[1 + place], choice, engine, id=f"{choice}-{label(engine)}")
        for place, choice in enumerate(CHOICES)
        for engine in ENGINES
    ],
)
def test_a_choice_of_masks_that_is_ignored(monkeypatch: pytest.MonkeyPatch, choice: str, engine: Engine) -> None:
    value, expected = CHOICES[choice]
    config = small_config(regularization={choice: value})
    assert red(config, engine) == {}
    faults.ignored(choice)(monkeypatch)
    found = red(config, engine)
    assert found.keys() == expected, found


OTHERS = [
    (faults.unscaled, {"embed drop", "input drop", "hidden drop", "output drop", "weight drop"}),
    (faults.model(faults.DropsInEvaluation), {"evaluation"}),
    (faults.layer(regressions.IgnoresItsMask), {"weight drop"}),
    (faults.layer(faults.DoesNotScaleWhatItKeeps), {"weight drop"}),
    (faults.model(faults.DropsWordsFromTheSoftmax), {"softmax"}),
]


@pytest.mark.parametrize(
    ("put_in", "expected", "choice"),
    [
        quick_if(fault % 3 == place, *OTHERS[fault], choice, id=f"{fault}-{choice}")
        for fault in range(len(OTHERS))
        for place, choice in enumerate(CHOICES)
    ],
)
def test_other_faults_are_seen_beside_a_choice(
    monkeypatch: pytest.MonkeyPatch, put_in: faults.Patch, expected: set, choice: str
) -> None:
    put_in(monkeypatch)
    found = red(small_config(regularization={choice: CHOICES[choice][0]}))
    assert found.keys() == expected, found


@pytest.mark.parametrize("fault", [faults.AveragesFromTheFirstEpoch, faults.AveragesOneEpochLate])
@pytest.mark.parametrize("epoch", [2, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (1, 50))])
def test_an_epoch_from_which_to_average_that_is_ignored(
    monkeypatch: pytest.MonkeyPatch, epoch: int, fault: type[Stepper]
) -> None:
    config = small_config(optimizer={"method": "asgd", "average_from_epoch": epoch})
    assert red(config) == {}
    faults.stepper(fault)(monkeypatch)
    found = red(config)
    assert found.keys() == {"averaging"}, found
    assert "averaging begins after: measured check" in found["averaging"]


def test_decay_left_out_under_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(optimizer={"method": "adam", "learning_rate": 1e-3}, finetuning={"epochs": 0})
    assert red(config) == {}
    faults.stepper(faults.DecaysNoBiases)(monkeypatch)
    assert red(config).keys() == {"weight decay"}


def test_what_a_red_cell_says(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.layer(regressions.IgnoresItsMask)(monkeypatch)
    cells = {cell.mechanism: cell for cell in audit_config(FULL, CORPUS)}
    cell = cells["weight drop"]
    assert cell.measured == "0"
    assert cell.expected.startswith("0.5±")
    assert "layer 1's recurrent weights without gradient: measured 0, expected 0.5±" in str(cell.failures[0])
    assert not math.isnan(float(cells["AR"].measured))
