"""The engines in their precisions, as parameters of tests."""

from __future__ import annotations

from awd.engine import Engine, FastEngine, TorchEngine

FP32 = [TorchEngine("fp32"), FastEngine("fp32")]
BF16 = [TorchEngine("bf16"), FastEngine("bf16")]
ENGINES = FP32 + BF16


def label(engine: Engine) -> str:
    return f"{engine.name} {engine.precision}"
