"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from awd.errors import InputError

if TYPE_CHECKING:
    from ablations.execution.job import RunOptions
    from ablations.experiment.selection import Selection

SuiteOption = Annotated[str, typer.Option("--suite", help="What is compared: a name (see `list`) or a .yaml file.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="At which scale: a name (see `list`) or a .yaml file.")]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        help="python-docs, ptb, wikitext-2, or a folder with train, valid and test files. Repeatable. "
        "Default: the profile's.",
    ),
]
VariantsOption = Annotated[str | None, typer.Option("--variants", help="Only these, for example full,no-weight-drop.")]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", help="3 is seeds 1 to 3; 1,2,5 these; 5, seed 5 alone. Default: the profile's.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field in every run, for example model.hidden_size=600. Repeatable."),
]
EngineOption = Annotated[
    Literal["auto", "torch", "fast"],
    typer.Option(
        "--engine",
        help="What computes training steps: fast, or PyTorch's own kernels (torch). auto is fast; where "
        "runs are only looked at, whatever is recorded.",
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        "--precision",
        help="What matrix products multiply in training; weights, sums and evaluation are always fp32. "
        "auto is bf16 where the processor has instructions for it.",
    ),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of the results.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of the reports.")]
ProfilesOption = Annotated[
    str | None,
    typer.Option(
        "--profiles",
        help="Rungs, for example demo,small: names (see `list`) or .yaml files. Default: every scaled-down one that "
        "has finished runs, without smoke.",
    ),
]
PaperDatasetOption = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Of the paper's: ptb, wikitext-2. Repeatable. Default: both."),
]
ReferenceOption = Annotated[
    Path, typer.Option("--reference", help="Results set beside yours; the published ones by default.")
]
IntervalOption = Annotated[
    Literal["t", "bootstrap"],
    typer.Option("--interval", help="95% intervals by Student's t, or over resampled seeds: rough under six of them."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="AWD_DATA_DIR", help="Folder with penn/ or wikitext-2/; no download then."),
]


def make_selection(
    suite: str,
    profile: str,
    dataset: list[str] | None,
    variants: str | None,
    seeds: str | None,
    settings: list[str] | None,
    data_dir: Path | None,
    engine: str,
    precision: str,
    device: str = "auto",
) -> Selection:
    """What to run or look at, from the command line's words; see :func:`ablations.experiment.selection.select`."""
    from ablations.experiment.selection import select

    return select(suite, profile, dataset or (), variants, seeds, settings or (), data_dir, engine, precision, device)


def make_options(
    selection: Selection,
    jobs: int | None,
    gpus: str | None,
    checkpoint_every: str,
    time_limit: str | None,
    **given: Any,
) -> RunOptions:
    """How to run, from the command line's words; ``given`` goes through as it is.

    Raises:
        InputError: an option that cannot be, or two that contradict each other.
    """
    from ablations.execution.gpus import parse_gpus
    from ablations.execution.job import RunOptions
    from ablations.storage.invocation import parse_duration, parse_interval
    from awd.device import resolve_device

    if gpus is not None and selection.device != "auto":
        raise InputError(f"--gpus {gpus} and --device {selection.device}: one of the two")
    return RunOptions(
        jobs=jobs,
        device=resolve_device(selection.device),
        data_dir=selection.data_dir,
        gpus=() if gpus is None else parse_gpus(gpus),
        interval=parse_interval(checkpoint_every),
        time_limit=None if time_limit is None else parse_duration(time_limit, "--time-limit"),
        **given,
    )
