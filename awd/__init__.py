"""AWD-LSTM ("Regularizing and Optimizing LSTM Language Models", arXiv 1708.02182) for today's PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from awd.cache import Cache, evaluate_with_caches, tune_cache
    from awd.checkpoint import Checkpoints, Interval
    from awd.config import (
        Config,
        CorpusConfig,
        FinetuningConfig,
        ModelConfig,
        OptimizerConfig,
        RegularizationConfig,
        TrainingConfig,
        WindowConfig,
    )
    from awd.corpus import load_corpus
    from awd.corpus.text import encode
    from awd.engine import FastEngine, TorchEngine, make_engine
    from awd.evaluation import evaluate, perplexity
    from awd.generation import generate
    from awd.model import AWDLSTM, detach
    from awd.optim import NonMonotonicTrigger, Stepper
    from awd.pretrained import Pretrained, load_pretrained, save_pretrained
    from awd.streams import Streams
    from awd.trainer import Trainer, TrainingResult

# found on first use, so that reading a configuration does not import torch
_HOME = {
    "Cache": "cache",
    "evaluate_with_caches": "cache",
    "tune_cache": "cache",
    "Checkpoints": "checkpoint",
    "Interval": "checkpoint",
    "Pretrained": "pretrained",
    "load_pretrained": "pretrained",
    "save_pretrained": "pretrained",
    "Config": "config",
    "CorpusConfig": "config",
    "FinetuningConfig": "config",
    "ModelConfig": "config",
    "OptimizerConfig": "config",
    "RegularizationConfig": "config",
    "TrainingConfig": "config",
    "WindowConfig": "config",
    "load_corpus": "corpus",
    "encode": "corpus.text",
    "FastEngine": "engine",
    "TorchEngine": "engine",
    "make_engine": "engine",
    "evaluate": "evaluation",
    "perplexity": "evaluation",
    "generate": "generation",
    "AWDLSTM": "model",
    "detach": "model",
    "NonMonotonicTrigger": "optim",
    "Stepper": "optim",
    "Streams": "streams",
    "Trainer": "trainer",
    "TrainingResult": "trainer",
}

__all__ = [
    "AWDLSTM",
    "Cache",
    "Checkpoints",
    "Config",
    "CorpusConfig",
    "FastEngine",
    "FinetuningConfig",
    "Interval",
    "ModelConfig",
    "NonMonotonicTrigger",
    "OptimizerConfig",
    "Pretrained",
    "RegularizationConfig",
    "Stepper",
    "Streams",
    "TorchEngine",
    "Trainer",
    "TrainingConfig",
    "TrainingResult",
    "WindowConfig",
    "detach",
    "encode",
    "evaluate",
    "evaluate_with_caches",
    "generate",
    "load_corpus",
    "load_pretrained",
    "make_engine",
    "perplexity",
    "save_pretrained",
    "tune_cache",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"awd.{_HOME[name]}"), name)
    raise AttributeError(f"module 'awd' has no attribute {name!r}")
