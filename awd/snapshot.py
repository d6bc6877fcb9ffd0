"""A run in the middle, as tensors and plain values: enough to go on to the same numbers, to the bit."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from awd.config import config_to_dict
from awd.trainer import TEST, Best, EpochRecord, Position, Trainer

_FORMAT = 1  # raised when what is saved changes


@dataclass(frozen=True)
class Snapshot:
    """What a run is made of.

    Attributes:
        tensors: by name; none shares memory with another.
        values: plain values, such as JSON holds.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def identity(trainer: Trainer) -> dict[str, Any]:
    """What must be the same for a run to go on to the same numbers; plain values."""
    text = hashlib.sha256("\n".join(trainer.words).encode())
    for split in (trainer.train_data, trainer.valid_data, trainer.test_data):
        text.update(f"{tuple(split.shape)}".encode())  # else rows could move from one to the next
        text.update(split.cpu().numpy().tobytes())
    return {
        "format": _FORMAT,
        "PyTorch": torch.__version__,
        "device": trainer.device.type,
        "engine": trainer.engine.name,
        "precision": trainer.engine.precision,
        "seed": trainer.seed,
        "corpus": text.hexdigest(),
        "config": config_to_dict(trainer.config),
    }


def take(trainer: Trainer) -> Snapshot:
    """The state of a run between two steps. Tensors are the run's own, not copies: write them before it goes on."""
    here, stepper = trainer.position, trainer.stepper
    tensors = _named("model", trainer.model)
    if stepper.average is not None:
        tensors |= _named("average", stepper.average.module)
    for index, moments in stepper.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items() if value is not None}
    tensors |= {f"best/{name}": trainer.best.weights[name] for name in _names(trainer.model) if trainer.best.weights}
    tensors |= {f"streams/{name}": state for name, state in trainer.streams.state().items()}
    tensors |= {f"mask streams/{name}": state for name, state in trainer.mask_streams.state().items()}
    for layer, (hidden, cell) in enumerate(here.state):
        tensors |= {f"hidden/{layer}": hidden, f"cell/{layer}": cell}
    if here.losses:
        tensors["losses"] = torch.stack(here.losses)
    best = trainer.best.valid_ppl
    values = {
        "phase": here.phase,
        "epoch": here.epoch,
        "start": here.start,
        "lengths": here.lengths,
        "seconds": here.seconds,
        "learning_rate": stepper.learning_rate,
        "steps": stepper.steps,
        "averaged_steps": stepper.averaged_steps,
        "averaging": stepper.average is not None,
        "criterion": trainer.trigger.history,
        "best_valid_ppl": best if math.isfinite(best) else None,
        "epochs": [asdict(record) for record in trainer.epochs],
    }
    return Snapshot({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, values)


def put(trainer: Trainer, snapshot: Snapshot) -> None:
    """Bring a new trainer, of the same identity, to where the snapshot was taken; the snapshot stays as it is."""
    tensors, values = snapshot.tensors, snapshot.values
    _load(trainer.model, tensors, "model")
    phase = values["phase"]
    if phase != TEST:
        trainer.enter(phase)
        _restore_steps(trainer, snapshot)
    trainer.streams.restore(_part(tensors, "streams"))
    trainer.mask_streams.restore(_part(tensors, "mask streams"))
    best = _part(tensors, "best")
    if best:
        weights = {name: best[first].to(trainer.device) for name, first in _aliases(trainer.model).items()}
        trainer.best = Best(values["best_valid_ppl"], weights)
    trainer.epochs = [EpochRecord(**record) for record in values["epochs"]]
    # copies: what a product gives may depend on how its operands are aligned, and a file does not see to that
    hidden, cell = (
        {name: tensor.to(trainer.device, copy=True) for name, tensor in _part(tensors, part).items()}
        for part in ("hidden", "cell")
    )
    trainer.position = Position(
        phase,
        values["epoch"],
        values["start"],
        [(hidden[str(i)], cell[str(i)]) for i in range(len(hidden))],
        list(tensors["losses"].to(trainer.device).unbind()) if "losses" in tensors else [],
        list(values["lengths"]),
        values["seconds"],
    )


def _restore_steps(trainer: Trainer, snapshot: Snapshot) -> None:
    stepper, values = trainer.stepper, snapshot.values
    stepper.learning_rate = values["learning_rate"]
    stepper.steps, stepper.averaged_steps = values["steps"], values["averaged_steps"]
    trainer.trigger.history = list(values["criterion"])
    if values["averaging"]:
        stepper.start_averaging()
        assert stepper.average is not None
        _load(stepper.average.module, snapshot.tensors, "average")
        stepper.average.n_averaged.fill_(stepper.averaged_steps)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(snapshot.tensors, "optimizer").items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = tensor.clone()
    stepper.optimizer.load_state_dict({**stepper.optimizer.state_dict(), "state": moments})


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _named(part: str, model: nn.Module) -> dict[str, Tensor]:
    # a tied matrix once: it has two names and one memory
    return {f"{part}/{name}": parameter for name, parameter in model.named_parameters()}


def _aliases(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter, and the name it is saved by."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    return {name: first[id(given)] for name, given in model.named_parameters(remove_duplicate=False)}


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


@torch.no_grad()
def _load(model: nn.Module, tensors: dict[str, Tensor], part: str) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[f"{part}/{name}"])
