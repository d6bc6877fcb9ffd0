"""A trained network in a folder: configuration, vocabulary and weights. Loading one executes nothing.

``config.json`` and ``vocabulary.json`` are for people, too. ``model.safetensors`` is written last, carries the digests
of both, and is sealed with one of itself (:mod:`awd.files`), so a folder is whole or refused, wherever it is moved.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from awd.config import Config, config_from_dict, config_to_dict
from awd.device import resolve_device
from awd.engine import PLAIN, Engine
from awd.errors import InputError
from awd.files import PLACEHOLDER, read_sealed, write_sealed, write_text
from awd.messages import describe_validation_error
from awd.model import AWDLSTM

CONFIG, VOCABULARY, WEIGHTS = "config.json", "vocabulary.json", "model.safetensors"

_Kind = TypeVar("_Kind")


class PretrainedError(InputError):
    """A folder does not hold a trained network as it was saved."""


@dataclass(frozen=True)
class Pretrained:
    """A trained network and what it was saved with.

    Attributes:
        model: with its weights, in evaluation mode.
        config: that it was trained by.
        words: of the vocabulary; a word's id is its place.
        about: what else was said about it when it was saved.
    """

    model: AWDLSTM
    config: Config
    words: list[str]
    about: dict[str, str]


@dataclass(frozen=True)
class _Notes:
    """What the weights' file says besides the weights.

    Attributes:
        version: of the format; raised when what is saved changes.
        about: see :class:`Pretrained`.
        sha256: of each of the other files, by its name.
        seal: must stay last, as a text in ``about`` could be taken for it.
    """

    version: Literal[1]
    about: dict[str, str]
    sha256: dict[str, str]
    seal: str


def save_pretrained(
    folder: Path | str, model: AWDLSTM, config: Config, words: Sequence[str], **about: str | float
) -> None:
    """Write a network to a folder, which is made if need be; the same one gives the same bytes.

    Args:
        folder: what it holds under the three names is replaced.
        model: its parameters are saved in float32, whatever they are in.
        config: that it was trained by, all fields resolved.
        words: the vocabulary, by id.
        about: more to be kept with it, as text: ``run_id="ab12", seed=1``.

    Raises:
        ValueError: network, configuration and words do not belong together, or a word is there twice; nothing has been
            written.
        OSError: the disk is full, or the folder not writable; what is in the folder then loads as before, or not.
    """
    folder = Path(folder)
    if fault := _no_vocabulary(words):
        raise ValueError(f"words: {fault}")
    # a tied matrix has two names and comes once
    tensors = {
        name: parameter.detach().to("cpu", torch.float32).contiguous() for name, parameter in model.named_parameters()
    }
    if fault := _misfit(_skeleton(config, words), tensors):
        raise ValueError(f"network, configuration and words do not belong together: {fault}")
    write_text(folder / CONFIG, json.dumps(config_to_dict(config), indent=2) + "\n")
    write_text(folder / VOCABULARY, json.dumps(list(words), indent=0, ensure_ascii=False) + "\n")
    digests = {name: _sha256((folder / name).read_bytes()) for name in (CONFIG, VOCABULARY)}
    notes = _Notes(1, {key: str(value) for key, value in about.items()}, digests, PLACEHOLDER)
    # one entry: safetensors writes several in an order of its own, another each time (its issue 584)
    write_sealed(folder / WEIGHTS, safetensors.torch.save(tensors, {"awd": json.dumps(asdict(notes))}))


def load_pretrained(folder: Path | str, *, device: torch.device | str = "cpu", engine: Engine = PLAIN) -> Pretrained:
    """Read a network that :func:`save_pretrained` wrote, and verify every byte of it.

    Draws no random number, and leaves torch's global generator as it was.

    Args:
        folder: wherever it lies now.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        engine: what computes training steps, should it be trained on.

    Raises:
        PretrainedError: a file is missing, is not the one that was saved, or does not fit the others.
        DamagedFileError: the weights' file has changed since it was written.
        ConfigError: the configuration holds what this version of awd does not know.
        DeviceError: there is no such device.
    """
    folder, device = Path(folder), resolve_device(str(device))
    if not folder.is_dir():
        raise PretrainedError(f"{folder}: no such folder")
    try:
        tensors, notes = _read_weights(folder / WEIGHTS)
        config = config_from_dict(_read_json(folder / CONFIG, notes), str(folder / CONFIG))
        words = _validate(list[str], _read_json(folder / VOCABULARY, notes), folder / VOCABULARY)
    except OSError as error:
        raise PretrainedError(f"{error.filename or folder}: cannot be read ({error.strerror or error})") from None
    if fault := _no_vocabulary(words):
        raise PretrainedError(f"{folder / VOCABULARY}: {fault}")
    model = _skeleton(config, words, engine)
    if fault := _misfit(model, tensors):
        raise PretrainedError(f"{folder / WEIGHTS}: {fault}")
    # copied to torch's own, aligned memory: the order of MKL's sums can depend on alignment
    model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, strict=False, assign=True)
    if config.model.tie_weights:
        model.decoder.weight = model.embedding.weight
    return Pretrained(model.to(device).eval(), config, words, notes.about)


def _skeleton(config: Config, words: Sequence[str], engine: Engine = PLAIN) -> AWDLSTM:
    """A network without weights: nothing is allocated, whatever sizes a file asks for, and nothing drawn."""
    with torch.device("meta"):
        return AWDLSTM(len(words), config.model, config.regularization, engine=engine)


def _no_vocabulary(words: Sequence[str]) -> str:
    """What keeps words from being a vocabulary; empty if nothing does."""
    if not words:
        return "no word"
    if not all(isinstance(word, str) for word in words):
        return "not all of them are text"
    word, count = Counter(words).most_common(1)[0]
    return f"{word!r} is there {count} times" if count > 1 else ""


def _misfit(network: AWDLSTM, tensors: Mapping[str, Tensor]) -> str:
    """What keeps tensors from being a network's parameters; empty if nothing does."""
    parameters = dict(network.named_parameters())
    for name in sorted(parameters.keys() | tensors.keys()):
        if name not in tensors:
            return f"{name} is missing, which {CONFIG} asks for"
        if name not in parameters:
            return f"{name} is one too many for {CONFIG}"
        wanted, found = parameters[name].shape, tensors[name].shape
        if found != wanted:
            return (
                f"{name} has the shape {list(found)}, where {CONFIG} and the {network.vocabulary_size} words of "
                f"{VOCABULARY} ask for {list(wanted)}"
            )
        if tensors[name].dtype != torch.float32:
            return f"{name} is in {tensors[name].dtype}, not torch.float32"
    return ""


def _read_weights(path: Path) -> tuple[dict[str, Tensor], _Notes]:
    content = read_sealed(path)
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        notes = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["awd"])
    except (safetensors.SafetensorError, AssertionError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise PretrainedError(f"{path}: not the weights of a saved network ({error!r})") from None
    return tensors, _validate(_Notes, notes, path)


def _read_json(path: Path, notes: _Notes) -> Any:
    content = path.read_bytes()
    if _sha256(content) != notes.sha256.get(path.name):
        raise PretrainedError(f"{path}: damaged or changed: not the file that {WEIGHTS} was saved with")
    try:
        return json.loads(content.decode())
    except (RecursionError, ValueError) as error:
        raise PretrainedError(f"{path}: not JSON ({error})") from None


def _validate(kind: type[_Kind], value: Any, path: Path) -> _Kind:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise PretrainedError(describe_validation_error(error, kind, str(path))) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
