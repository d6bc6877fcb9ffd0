"""Optimizers of the paper (section 3): SGD, SGD halved on a criterion, averaged SGD, NT-ASGD; and Adam.

A step is torch's own SGD or Adam at the rate of its window. What is averaged is kept apart from the step:
``torch.optim.ASGD`` takes a step's rate from the step before, so a rate rescaled per window lands one step late, and
with ``t0=0`` it leaves the first iterate out of the average; ``torch.optim.swa_utils`` waits for a GPU at every update.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from awd.config import OptimizerConfig
from awd.model import AWDLSTM


class NonMonotonicTrigger:
    """The criterion of NT-ASGD (Algorithm 1): fires when more than ``interval`` checks lie behind and the current
    value is worse than the best of all but the last ``interval`` of them, ``min(v[:-n])``.

    (The text can be read as ``v[-n:]``; the published code slices as we do.)

    Args:
        interval: n, in checks; one check an epoch.

    Attributes:
        history: values of earlier checks, oldest first.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.history: list[float] = []

    def check(self, value: float) -> bool:
        """Whether the criterion fires at ``value``, which then joins the history."""
        # len - n, not -n: a slice [:-0] would be empty
        settled = self.history[: max(0, len(self.history) - self.interval)]
        self.history.append(value)
        return bool(settled) and value > min(settled)

    def state_dict(self) -> dict[str, Any]:
        """Its part of a checkpoint."""
        return {"criterion": list(self.history)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.history = list(state["criterion"])


class Stepper:
    """Takes optimizer steps at a rate given for each, and averages the iterates once told to.

    Args:
        model: the network; its parameters are changed in place.
        config: method, clipping and the Polyak-Juditsky terms.
        learning_rate: rate of a window of the base length.
        weight_decay: L2 term, added to the gradient after clipping.
    """

    def __init__(self, model: AWDLSTM, config: OptimizerConfig, learning_rate: float, weight_decay: float) -> None:
        self.model, self.config, self.learning_rate = model, config, learning_rate
        self.parameters: list[Tensor] = list(model.parameters())
        kind = torch.optim.Adam if config.method == "adam" else torch.optim.SGD
        self.optimizer: torch.optim.Optimizer = kind(
            self.parameters, lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self.average: AWDLSTM | None = None
        self.epoch = 0  # epochs of the phase that have ended
        self.steps = 0
        self.averaged_steps = 0

    def start_averaging(self) -> None:
        """Average the iterates from the next step on: the plain mean of the weights after each step."""
        self.average = deepcopy(self.model)

    @property
    def evaluated(self) -> AWDLSTM:
        """The network whose validation counts: the average of the iterates where there is one, else the raw one."""
        return self.average if self.average is not None and self.averaged_steps else self.model

    def step(self, loss: Tensor, rate_scale: float = 1.0) -> None:
        """Differentiate ``loss``, clip, and step at ``learning_rate * rate_scale``."""
        settings = self.config
        begun = self.steps >= settings.average_from and self.epoch >= settings.average_from_epoch
        if settings.method == "asgd" and self.average is None and begun:
            self.start_averaging()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        rate = self.learning_rate * rate_scale
        if self.average is not None:
            rate *= self._decay()
            self._shrink(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        # not held through the next forward pass, in which memory peaks
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is not None:
            self.averaged_steps += 1
            self._join(self.average)

    def state_dict(self) -> dict[str, Any]:
        """Its part of a checkpoint, the weights aside; a tied matrix once."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "averaged_steps": self.averaged_steps,
            "averaging": self.average is not None,
            "average": {} if self.average is None else dict(self.average.named_parameters()),
            "optimizer": {
                str(index): {name: moment for name, moment in of_one.items() if moment is not None}
                for index, of_one in moments.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the tensors given stay as they are."""
        self.learning_rate = state["learning_rate"]
        self.steps, self.averaged_steps = state["steps"], state["averaged_steps"]
        self.average = None
        if state["averaging"]:
            self.start_averaging()
            assert self.average is not None
            self.average.load_state_dict(state["average"], strict=False)  # a tied matrix has two names
        moments = {
            int(index): {name: moment.clone() for name, moment in of_one.items()}
            for index, of_one in state.get("optimizer", {}).items()
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _decay(self) -> float:
        return float((1 + self.config.lambd * self.learning_rate * self.averaged_steps) ** -self.config.alpha)

    @torch.no_grad()
    def _shrink(self, rate: float) -> None:
        if self.config.lambd:
            torch._foreach_mul_(self.parameters, 1 - self.config.lambd * rate)

    @torch.no_grad()
    def _join(self, average: AWDLSTM) -> None:
        """Take the weights into the average of ``averaged_steps`` iterates, theirs included; few launches on a GPU."""
        averages: list[Tensor] = list(average.parameters())
        weights: list[Tensor] = list(self.model.parameters())
        if self.averaged_steps == 1:
            torch._foreach_copy_(averages, weights)
            return
        steps = torch._foreach_sub(weights, averages)
        torch._foreach_div_(steps, self.averaged_steps)
        torch._foreach_add_(averages, list(steps))
