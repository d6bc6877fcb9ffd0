"""What is timed: configurations by name, and the programs that compute them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ablations.experiment.profile import load_profile
from awd.config import Config, override
from awd.errors import InputError
from awd.messages import unknown

REFERENCE = "torch-fp32"

# name -> what it is
ENGINES = {
    "bare-fp32": "nn.LSTM with dropped weights, F.cross_entropy and torch.optim.SGD as any port would write them",
    "torch-fp32": "this project's model on PyTorch's own kernels",
    "torch-bf16": "the same, matrix products in bfloat16",
    "fast-fp32": "this project's own kernels",
    "fast-bf16": "the same, matrix products in bfloat16",
}


@dataclass(frozen=True)
class Configuration:
    """A size and setting of the model, and how it is timed.

    Attributes:
        title: what it is, in a line.
        vocabulary_size: number of words.
        length: tokens of a window; every window is as long.
        batch_size: sequences, unless another number is asked for.
        steps_per_round: training steps between two looks at the clock.
        config: of the model, its regularizers and its optimizer.
    """

    title: str
    vocabulary_size: int
    length: int
    batch_size: int
    steps_per_round: int
    config: Config


def _with(changes: dict[str, Any]) -> Config:
    return override(Config(), changes, "benchmarks/configurations.py")


def _sizes(embedding: int, hidden: int) -> dict[str, Any]:
    return {"model": {"embedding_size": embedding, "hidden_size": hidden}}


_WIKITEXT = load_profile("paper").per_dataset["wikitext-2"]

CONFIGURATIONS = {
    "paper-ptb": Configuration("the paper's model on Penn Treebank", 10_000, 70, 20, 1, Config()),
    "paper-wt2": Configuration("the paper's model on WikiText-2", 33_278, 70, 20, 1, _with(_WIKITEXT)),
    "small": Configuration("layers of 256 units", 10_000, 70, 20, 5, _with(_sizes(128, 256))),
    "demo": Configuration("the demo's model on its text", 536, 20, 10, 50, _with(load_profile("demo").config)),
    "tiny": Configuration("for this project's tests: its times say nothing", 50, 5, 3, 2, _with(_sizes(8, 12))),
}


def require_configuration(name: str) -> None:
    """Refuse a value of ``--config`` that names no configuration.

    Raises:
        InputError: it does not.
    """
    if name not in CONFIGURATIONS:
        raise InputError(f"--config: {unknown('configuration', name, CONFIGURATIONS)}")
