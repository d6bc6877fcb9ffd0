"""Options that several benchmarks share."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

from ablations.cli.paths import folder_option
from awd.errors import InputError
from awd.messages import unknown

EngineOption = Annotated[Literal["auto", "torch", "fast"], typer.Option("--engine", help="As run_ablations.py's.")]
PrecisionOption = Annotated[Literal["auto", "fp32", "bf16"], typer.Option("--precision", help="As run_ablations.py's.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
SaveOption = Annotated[bool, typer.Option("--save", help="Write it to --results too.")]
ResultsOption = Annotated[Path, folder_option("--results", help="Folder for --save.")]


def names(option: str, kind: str, text: str, known: Collection[str]) -> list[str]:
    """``a,b`` as names, each once.

    Raises:
        InputError: one that is not known, or none.
    """
    given = [name.strip() for name in text.split(",") if name.strip()]
    if not given:
        raise InputError(f"{option} {text!r}: no {kind} was named")
    for name in given:
        if name not in known:
            raise InputError(f"{option}: {unknown(kind, name, known)}")
    return list(dict.fromkeys(given))
