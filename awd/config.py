"""What determines a training run, as frozen dataclasses with the paper's Penn Treebank values as defaults.

Every class validates itself when it is made (pydantic): unknown fields, wrong types and impossible values
raise. Sources: "Regularizing and Optimizing LSTM Language Models" (arXiv 1708.02182), section 5 and Table 5.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from awd.errors import ConfigError
from awd.messages import describe_validation_error

_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)

# far beyond any use, so that no rate computed from legal values overflows float32, and no size a tensor's
_STRONGEST, _MOST, _WIDEST, _DEEPEST = 1e30, 10**9, 10**6, 1000

# strict at the leaves only: a class inside a class may come as a mapping, a number never as text or true/false
Flag = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
# masks are drawn from 16-bit integers: beyond it less than the least share that they can keep would be asked for
LARGEST_DROPOUT = 1 - 2**-16
DropProbability = Annotated[float, Field(strict=True, ge=0, le=LARGEST_DROPOUT)]
NonNegative = Annotated[float, Field(strict=True, ge=0, le=_STRONGEST)]
Positive = Annotated[float, Field(strict=True, gt=0, le=_STRONGEST)]
Count = Annotated[int, Field(strict=True, ge=1, le=_MOST)]
CountOrZero = Annotated[int, Field(strict=True, ge=0, le=_MOST)]
Size = Annotated[int, Field(strict=True, ge=1, le=_WIDEST)]
Spread = Annotated[float, Field(strict=True, ge=0, le=_WIDEST)]
Depth = Annotated[int, Field(strict=True, ge=1, le=_DEEPEST)]
MaskPer = Literal["window", "step"]
EmbeddingDrops = Literal["words", "units"]
RecurrentDrops = Literal["weights", "units"]


@dataclass(frozen=True, config=_FORBID_EXTRA)
class ModelConfig:
    """Sizes of the network (section 5).

    Attributes:
        embedding_size: width of the word vectors; ``None`` makes it ``hidden_size`` ("full sized embedding",
            section 6.3), so that embedding and hidden sizes are no longer independent.
        hidden_size: width of every LSTM layer but the last.
        num_layers: LSTM layers; the last is as wide as the embedding when weights are tied.
        tie_weights: share the embedding matrix with the softmax (section 4.5).
    """

    embedding_size: Size | None = 400
    hidden_size: Size = 1150
    num_layers: Depth = 3
    tie_weights: Flag = True

    @property
    def embedding_width(self) -> int:
        """Width of the word vectors once ``None`` is resolved."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def layer_sizes(self) -> list[tuple[int, int]]:
        """``(input width, output width)`` of each LSTM layer, first to last."""
        last = self.embedding_width if self.tie_weights else self.hidden_size
        widths = [self.embedding_width, *[self.hidden_size] * (self.num_layers - 1), last]
        return list(itertools.pairwise(widths))


@dataclass(frozen=True, config=_FORBID_EXTRA)
class RegularizationConfig:
    """Strength of each regularizer; 0 takes it away.

    A dropout is at most 1 - 2 ** -16 (0.99998...): masks are drawn from 16-bit integers, and can keep no smaller share.
    What a dropout takes away at its strength is the paper's by default; the last three fields have the alternatives, of
    which :class:`awd.dropout.Masks` has the shapes.

    Attributes:
        embedding_dropout: whole words dropped from the input look-up (section 4.3).
        input_dropout: locked dropout on the embedded input (section 4.2); the paper has 0.65 on WikiText-2.
        hidden_dropout: locked dropout between LSTM layers.
        output_dropout: locked dropout on the last layer's output.
        weight_dropout: DropConnect on every hidden-to-hidden matrix (section 3, "weight-dropped").
        activation_penalty: alpha of activation regularization, AR (section 4.6).
        temporal_activation_penalty: beta of temporal activation regularization, TAR (section 4.6).
        weight_decay: L2 term added to every parameter's gradient after clipping.
        mask_per: how long a mask of ``input_dropout``, ``hidden_dropout`` and ``output_dropout`` holds: for a whole
            ``window``, which is locked dropout; or for a single time ``step``, which is ordinary dropout.
        embedding_drops: what ``embedding_dropout`` drops: ``words``, or single ``units`` of a word's vector, the same
            ones wherever the word stands in the minibatch.
        recurrent_drops: what ``weight_dropout`` drops: single ``weights`` of the hidden-to-hidden matrix; or ``units``
            of the hidden state where that matrix reads it, the same ones for a window and all its sequences.
    """

    embedding_dropout: DropProbability = 0.1
    input_dropout: DropProbability = 0.4
    hidden_dropout: DropProbability = 0.3
    output_dropout: DropProbability = 0.4
    weight_dropout: DropProbability = 0.5
    activation_penalty: NonNegative = 2.0
    temporal_activation_penalty: NonNegative = 1.0
    weight_decay: NonNegative = 1.2e-6
    mask_per: MaskPer = "window"
    embedding_drops: EmbeddingDrops = "words"
    recurrent_drops: RecurrentDrops = "weights"


@dataclass(frozen=True, config=_FORBID_EXTRA)
class WindowConfig:
    """How the text is cut into windows of backpropagation through time (section 4.1).

    Attributes:
        length: base length, in tokens.
        variable: draw each length at random and rescale the learning rate; ``False`` always takes ``length``.
        short_probability: chance that the base is halved for one window.
        spread: standard deviation of the drawn length, in tokens.
        minimum: shortest length drawn, in tokens.
    """

    length: Size = 70
    variable: Flag = True
    short_probability: Share = 0.05
    spread: Spread = 5.0
    minimum: Size = 5


Method = Literal["sgd", "sgd-halving", "asgd", "nt-asgd", "adam"]


@dataclass(frozen=True, config=_FORBID_EXTRA)
class OptimizerConfig:
    """The optimizer of the training phase (section 3).

    Attributes:
        method: ``sgd``; ``sgd-halving`` (halves the rate whenever the non-monotonic criterion fires); ``asgd``
            (averages from T on, ``average_from`` or ``average_from_epoch``); ``nt-asgd`` (averages once the criterion
            fires); ``adam``.
        learning_rate: rate of a window of the base length.
        clip_norm: largest total gradient norm; ``None`` does not clip.
        nonmonotone_interval: n of the criterion, in epochs.
        average_from: T of ``asgd``, in steps; the iterates after more than T steps are averaged.
        average_from_epoch: the same in epochs of training; where both are given, the later of the two counts.
        lambd: decay term of Polyak-Juditsky averaging, as ``torch.optim.ASGD`` names it; 0 is off. While
            averaging, a step's rate is ``lr / (1 + lambd * learning_rate * t) ** alpha`` and weights shrink by
            ``lambd`` times that rate.
        alpha: power of that rate's decay; without effect while ``lambd`` is 0.
    """

    method: Method = "nt-asgd"
    learning_rate: Positive = 30.0
    clip_norm: Positive | None = 0.25
    nonmonotone_interval: CountOrZero = 5
    average_from: CountOrZero = 0
    average_from_epoch: CountOrZero = 0
    lambd: NonNegative = 0.0
    alpha: NonNegative = 0.0


@dataclass(frozen=True, config=_FORBID_EXTRA)
class FinetuningConfig:
    """The second phase: ASGD from its first step, started from the best weights (section 5).

    Attributes:
        epochs: most epochs of it; 0 leaves the phase out.
        learning_rate: its rate; ``None`` takes the training phase's.
    """

    epochs: CountOrZero = 500
    learning_rate: Positive | None = None


@dataclass(frozen=True, config=_FORBID_EXTRA)
class TrainingConfig:
    """Length and batching of a run.

    Attributes:
        epochs: passes over the training split in the training phase.
        batch_size: columns the training text is cut into.
        valid_batch_size: columns of the validation text.
        test_batch_size: columns of the test text.
    """

    epochs: Count = 750
    batch_size: Count = 40
    valid_batch_size: Count = 10
    test_batch_size: Count = 1


@dataclass(frozen=True, config=_FORBID_EXTRA)
class CorpusConfig:
    """How much of the corpus is used; ``None`` is all of a split.

    Attributes:
        train_tokens: first so many tokens of the training split; the vocabulary is made from them.
        minimum_count: words that occur less often in them are ``<unk>``.
        valid_tokens: an epoch is validated on the first so many tokens of the validation split; the weights that are
            best on them are validated on all of it in the end, and that is what is reported.
    """

    train_tokens: Count | None = None
    minimum_count: Count = 1
    valid_tokens: Count | None = None


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Config:
    """Everything that, with a corpus and a seed, determines a run."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    regularization: RegularizationConfig = Field(default_factory=RegularizationConfig)
    windows: WindowConfig = Field(default_factory=WindowConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    finetuning: FinetuningConfig = Field(default_factory=FinetuningConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    corpus: CorpusConfig = Field(default_factory=CorpusConfig)

    @property
    def most_epochs(self) -> int:
        """Of training and fine-tuning together; fine-tuning may end earlier."""
        return self.training.epochs + self.finetuning.epochs


_ADAPTER = TypeAdapter(Config)


def config_to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values, ready for JSON or YAML."""
    return _ADAPTER.dump_python(config)


def config_from_dict(values: dict[str, Any], origin: str) -> Config:
    """Validate nested plain values; keys left out keep their defaults.

    Raises:
        ConfigError: names ``origin`` (a file or option), the key, the value and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, Config, origin)) from None


def override(config: Config, changes: dict[str, Any], origin: str) -> Config:
    """A new configuration with the fields of ``changes`` (nested, partial) put in.

    Raises:
        ConfigError: as :func:`config_from_dict`, so that a fault is blamed on the layer that brought it.
    """
    return config_from_dict(merged(config_to_dict(config), changes), origin)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested plain values with those of ``changes`` put in."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = merged(result[key], value) if nested else value
    return result
