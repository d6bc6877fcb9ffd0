"""What is compared, running it, and reporting it: from Python, ``run``, ``load``, ``ladder``, ``report``, ``figures``.

>>> import ablations
>>> data = ablations.load("results/reference", profile="small", datasets="ptb")
>>> data.datasets, len(data.runs)
(['ptb'], 45)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations import figures
    from ablations.api import ladder, load, report, run

__all__ = ["figures", "ladder", "load", "report", "run"]


def __getattr__(name: str) -> Any:
    # found on first use: nobody waits for pandas, torch or matplotlib before
    if name == "figures":
        return importlib.import_module("ablations.figures")
    if name in __all__:
        return getattr(importlib.import_module("ablations.api"), name)
    raise AttributeError(f"module 'ablations' has no attribute {name!r}")
