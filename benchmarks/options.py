"""Options that several benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ablations.cli.paths import folder_option

EngineOption = Annotated[Literal["auto", "torch", "fast"], typer.Option("--engine", help="As run_ablations.py's.")]
PrecisionOption = Annotated[Literal["auto", "fp32", "bf16"], typer.Option("--precision", help="As run_ablations.py's.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
SaveOption = Annotated[bool, typer.Option("--save", help="Write it to --results too.")]
ResultsOption = Annotated[Path, folder_option("--results", help="Folder for --save.")]
