"""The program that the paper's authors published, as it lies in a clone, made to run on today's PyTorch.

Nothing of it is kept here, and no file of the clone is changed. Its modules are imported, and the functions ``train``
and ``evaluate`` are taken out of its script ``main.py``, which as a whole would read options and train at once. They
run on weights, masks and window lengths of ours. While they do, three functions of PyTorch are replaced: the two that
draw masks, and ``Tensor.float``, by which their loss would be rounded to float32 in a model in float64.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from awd.config import Config
from awd.dropout import Masks
from awd.errors import InputError
from awd.model import AWDLSTM
from benchmarks.command import MeasurementError

# module -> what is used of it; the script's functions are those that are taken out of it
MODULES = {
    "model": ("RNNModel",),
    "weight_drop": ("WeightDrop",),
    "locked_dropout": ("LockedDropout",),
    "embed_regularize": ("embedded_dropout",),
    "splitcross": ("SplitCrossEntropyLoss",),
    "utils": ("batchify", "get_batch", "repackage_hidden"),
}
SCRIPT, FUNCTIONS = "main.py", ("train", "evaluate")
SHORTEST = 5  # window that their train() can take
_NEVER = 10**9  # steps between two lines of their log


@dataclass(frozen=True)
class Program:
    """Their program, loaded.

    Attributes:
        names: classes and functions of its modules.
        functions: code that defines ``train`` and ``evaluate``.
        commit: of the clone, followed by ``with changes`` where files differ; ``None`` outside a git checkout.
    """

    names: dict[str, Any]
    functions: Any
    commit: str | None


def load(repo: Path) -> Program:
    """Import what is compared.

    Raises:
        InputError: this is no such clone, or its code does not load; names the file.
    """
    for file in (*(f"{name}.py" for name in MODULES), SCRIPT):
        if not (repo / file).is_file():
            raise InputError(f"--repo {repo}: not a clone of the authors' program: it has no {file}")
    return Program(_import_modules(repo), _take_functions(repo / SCRIPT), _commit(repo))


def _import_modules(repo: Path) -> dict[str, Any]:
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the clone is left as it is
    sys.path.insert(0, str(repo))
    found: dict[str, Any] = {}
    try:
        for name, wanted in MODULES.items():
            try:
                module = importlib.import_module(name)
                found |= {attribute: getattr(module, attribute) for attribute in wanted}
            except Exception as error:  # whatever their code does
                raise InputError(f"--repo {repo}: {name}.py cannot be used: {error!r}") from None
    finally:
        sys.path.remove(str(repo))
        sys.dont_write_bytecode = writes
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
    return found


def _take_functions(script: Path) -> Any:
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"--repo {script.parent}: {script.name} cannot be read: {error}") from None
    wanted: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS
    ]
    missing = set(FUNCTIONS) - {node.name for node in wanted if isinstance(node, ast.FunctionDef)}
    if missing:
        raise InputError(f"--repo {script.parent}: {script.name} defines no {' and no '.join(sorted(missing))}()")
    return compile(ast.Module(wanted, []), str(script), "exec")


def _commit(repo: Path) -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(repo), *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not (repo / ".git").exists():
        return None
    commit = git("rev-parse", "HEAD")
    return commit and commit[:10] + " with changes" * bool(git("status", "--porcelain", "--untracked-files=no"))


class _Strength(float):
    """A strength that keeps the products it takes part in, as a penalty is one."""

    products: list[Tensor]

    def __new__(cls, value: float, products: list[Tensor]) -> _Strength:
        strength = super().__new__(cls, value)
        strength.products = products
        return strength

    def __mul__(self, other: Any) -> Any:
        product = float(self) * other
        self.products.append(product.detach())
        return product


@dataclass
class Seen:
    """What went by while their ``train`` ran, one number per window: the parts of its loss, and the length."""

    cross_entropy: list[Tensor] = field(default_factory=list)
    activation: list[Tensor] = field(default_factory=list)
    temporal: list[Tensor] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


class Training:
    """Their network on a copy of our weights, with their ``train`` and ``evaluate``.

    Args:
        program: what :func:`load` gave.
        ours: the network whose sizes, strengths, weights and type are taken.
        config: windows, clipping and batch of the run.
        train_tokens: the training text, ``(tokens,)``.
        next_masks: called before each window for its masks.
        next_length: called before each window for its length.

    Attributes:
        parameters: theirs, by the names that ours have.
        optimizer: what ``train`` steps; set before it is called.
    """

    def __init__(
        self,
        program: Program,
        ours: AWDLSTM,
        config: Config,
        train_tokens: Tensor,
        next_masks: Callable[[], Masks],
        next_length: Callable[[], int],
    ) -> None:
        self.program, self.next_masks, self.next_length = program, next_masks, next_length
        self.seen, self.masks = Seen(), _HandedIn()
        self.dtype = ours.decoder.bias.dtype
        self.model, self.criterion = _build(program, ours, self.dtype)
        self.parameters = _copied(self.model, ours)
        self.model.register_forward_pre_hook(self._before_window)
        self.model.register_forward_hook(self._after_window)
        self.namespace = self._namespace(ours, config, train_tokens)
        exec(program.functions, self.namespace)

    def _namespace(self, ours: AWDLSTM, config: Config, train_tokens: Tensor) -> dict[str, Any]:
        """The globals that their functions find in ``main.py``."""
        strengths, training = ours.regularization, config.training
        args = SimpleNamespace(
            model="LSTM",
            cuda=False,
            batch_size=training.batch_size,
            bptt=config.windows.length,
            clip=config.optimizer.clip_norm,
            alpha=_Strength(strengths.activation_penalty, self.seen.activation),
            beta=_Strength(strengths.temporal_activation_penalty, self.seen.temporal),
            log_interval=_NEVER,
        )
        return {
            **self.program.names,
            **{"torch": torch, "time": time, "math": math, "epoch": 1, "args": args},
            # random() says whether the base is halved, normal() what is drawn: here it is our length
            "np": SimpleNamespace(random=SimpleNamespace(random=lambda: 0.0, normal=self._length)),
            "corpus": SimpleNamespace(dictionary=range(ours.vocabulary_size)),
            "model": self.model,
            "criterion": self._criterion,
            "params": list(self.model.parameters()),
            "train_data": self.program.names["batchify"](train_tokens, training.batch_size, args),
        }

    def train(self, optimizer: torch.optim.Optimizer) -> None:
        """An epoch of their ``train``."""
        self.namespace["optimizer"] = optimizer
        with self._adapted(), _named("train()"):
            self.namespace["train"]()

    def evaluate(self, tokens: Tensor, batch_size: int) -> float:
        """The mean loss that their ``evaluate`` gives for a text, made one a predicted token: theirs divides the sum by
        the rows of the text, one more than are predicted."""
        data = self.program.names["batchify"](tokens, batch_size, self.namespace["args"])
        with self._adapted(), _named("evaluate()"):
            return self.namespace["evaluate"](data, batch_size) * len(data) / (len(data) - 1)

    @contextlib.contextmanager
    def _adapted(self) -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)  # ASGD keeps its rate and its weight of an iterate in this type
        try:
            with (
                patch.object(torch.Tensor, "bernoulli_", self.masks.bernoulli_),
                patch.object(torch.nn.functional, "dropout", self.masks.dropout),
                patch.object(torch.Tensor, "float", lambda values: values),
            ):
                yield
        finally:
            torch.set_default_dtype(before)

    def _length(self, mean: float, spread: float) -> int:
        length = self.next_length()
        self.seen.lengths.append(length)
        return length

    def _criterion(self, *arguments: Any) -> Any:
        loss = self.criterion(*arguments)
        if self.model.training:
            self.seen.cross_entropy.append(loss.detach())
        return loss

    def _before_window(self, module: nn.Module, arguments: Any) -> None:
        if module.training:
            self.masks.hand_in(self.next_masks())

    def _after_window(self, module: nn.Module, arguments: Any, result: Any) -> None:
        if module.training and (left := self.masks.left()):
            raise MeasurementError(f"masks: their program drew {left} fewer for a window than ours")


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Whatever goes wrong in their code ends in one message, not in a traceback through it."""
    try:
        yield
    except MeasurementError:
        raise
    except Exception as error:
        raise MeasurementError(f"their {what} failed: {error!r}") from error


class _HandedIn:
    """Stands in for what draws masks: gives those of ours, in the order in which their program asks for them."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.recurrent: list[Tensor] = []

    def hand_in(self, masks: Masks) -> None:
        """The masks of the next window."""
        values = (masks.embedding, masks.input, *masks.hidden, masks.output)
        self.values = [mask for mask in values if mask is not None]
        self.recurrent = [mask for mask in masks.weight if mask is not None]

    def left(self) -> int:
        """Masks that were not asked for."""
        return len(self.values) + len(self.recurrent)

    @property
    def bernoulli_(self) -> Callable[..., Tensor]:
        """``Tensor.bernoulli_``; a function, so that it becomes a method of the tensors."""

        def draw(values: Tensor, p: float = 0.5) -> Tensor:
            return values.copy_(_next(self.values, values.shape))

        return draw

    def dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """``torch.nn.functional.dropout``, here that of the recurrent weights."""
        if not training or not p:
            # a value of its own: given the parameter itself, a module makes it one of its parameters
            return values.view_as(values)
        return values * _next(self.recurrent, values.shape).to(values.dtype) / (1 - p)


def _next(masks: list[Tensor], shape: torch.Size) -> Tensor:
    """What is kept, as ones, of the next mask; what is kept is scaled by their own code."""
    if not masks or masks[0].shape != shape:
        expected = f"ours has {tuple(masks[0].shape)} there" if masks else "ours has none left"
        raise MeasurementError(f"masks: their program draws one of {tuple(shape)}, {expected}")
    return masks.pop(0) != 0


def _build(program: Program, ours: AWDLSTM, dtype: torch.dtype) -> tuple[Any, Any]:
    """Their model and loss at the sizes and strengths of ours."""
    sizes, strengths = ours.model_config, ours.regularization
    with _named("model"), contextlib.redirect_stdout(io.StringIO()):  # it prints its layers
        model = program.names["RNNModel"](
            "LSTM",
            ours.vocabulary_size,
            sizes.embedding_width,
            sizes.hidden_size,
            sizes.num_layers,
            dropout=strengths.output_dropout,
            dropouth=strengths.hidden_dropout,
            dropouti=strengths.input_dropout,
            dropoute=strengths.embedding_dropout,
            wdrop=strengths.weight_dropout,
            tie_weights=sizes.tie_weights,
        )
        criterion = program.names["SplitCrossEntropyLoss"](sizes.embedding_width, splits=[], verbose=False)
    return model.to(dtype), criterion.to(dtype)


def _copied(model: nn.Module, ours: AWDLSTM) -> dict[str, nn.Parameter]:
    """Put our weights into their model; returns its parameters by our names.

    Raises:
        MeasurementError: it has other parameters, as with other tying.
    """
    theirs = {_our_name(name): parameter for name, parameter in model.named_parameters()}
    own = dict(ours.named_parameters())
    if theirs.keys() != own.keys():
        there, here = sorted(theirs.keys() - own.keys()), sorted(own.keys() - theirs.keys())
        raise MeasurementError(
            f"parameters (tying, layers): only their model has {', '.join(there) or 'none'}; "
            f"only ours has {', '.join(here) or 'none'}"
        )
    with torch.no_grad():
        for name, parameter in theirs.items():
            if parameter.shape != own[name].shape:
                shapes = f"{tuple(parameter.shape)}, ours {tuple(own[name].shape)}"
                raise MeasurementError(f"parameters (sizes): their {name} is {shapes}")
            parameter.copy_(own[name])
    return theirs


def _our_name(name: str) -> str:
    """``rnns.0.module.weight_hh_l0_raw`` is our ``layers.0.weight_hh``, ``encoder`` our ``embedding``."""
    name = name.replace("encoder.", "embedding.").replace("rnns.", "layers.").replace(".module.", ".")
    return name.removesuffix("_raw").removesuffix("_l0")
