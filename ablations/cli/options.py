"""Options that several commands share, each written down once, and what they come to."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from typer.core import TyperCommand

from ablations.cli.console import hush
from ablations.cli.paths import folder_option
from awd.errors import InputError

if TYPE_CHECKING:
    from ablations.execution.job import RunOptions
    from ablations.experiment.selection import Selection

# headings in the help
what = partial(typer.Option, rich_help_panel="What is compared")
how = partial(typer.Option, rich_help_panel="How it is trained")
where = partial(folder_option, rich_help_panel="Folders")

SuiteOption = Annotated[str, what("--suite", help="What is compared: a name (see `list`) or a .yaml file.")]
ProfileOption = Annotated[str, what("--profile", help="At which scale: a name (see `list`) or a .yaml file.")]
DeviceOption = Annotated[str, how("--device", help="auto, cpu, cuda or cuda:N.")]
ResultsOption = Annotated[Path, where("--results", help="Folder of the results.")]
ReportsOption = Annotated[Path, where("--reports", help="Folder of the reports.")]
IntervalOption = Annotated[
    Literal["t", "bootstrap"],
    typer.Option("--interval", help="95% intervals by Student's t, or over resampled seeds: rough under six of them."),
]
ReferenceOption = Annotated[
    Path, where("--reference", help="Results shown beside yours; the published ones by default.")
]
DataDirOption = Annotated[
    Path | None,
    where("--data-dir", envvar="AWD_DATA_DIR", help="Folder with penn/ or wikitext-2/; no download then."),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in a browser at the end.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what went wrong.", callback=hush)]


@dataclass(frozen=True)
class ConfigurationOptions:
    """What a run is made of, but for its variant, data set and seed."""

    suite: SuiteOption = "table5"
    profile: ProfileOption = "demo"
    settings: Annotated[
        list[str] | None,
        what("--set", help="Override a field in every run, for example model.hidden_size=600. Repeatable."),
    ] = None
    engine: Annotated[
        Literal["auto", "torch", "fast"],
        how(
            "--engine",
            help="What computes training steps: fast, or PyTorch's own kernels (torch). auto is fast; where "
            "runs are only looked at, whatever is recorded.",
        ),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        how(
            "--precision",
            help="What matrix products multiply in training; weights, sums and evaluation are always fp32. "
            "auto is bf16 where the processor has instructions for it.",
        ),
    ] = "auto"
    data_dir: DataDirOption = None

    def selection(self, device: str = "auto", **given: Any) -> Selection:
        """Read what the options name; see :func:`ablations.experiment.selection.select`, which takes ``given``.

        Raises:
            ConfigError: something named does not exist or does not fit.
        """
        from ablations.experiment.selection import select

        return select(
            self.suite,
            self.profile,
            assignments=self.settings or (),
            data_dir=self.data_dir,
            engine=self.engine,
            precision=self.precision,
            device=device,
            **given,
        )


@dataclass(frozen=True)
class VariantOptions(ConfigurationOptions):
    """Which variants on which data sets."""

    dataset: Annotated[
        list[str] | None,
        what(
            "--dataset",
            help="python-docs, ptb, wikitext-2, or a folder with train, valid and test files. Repeatable. "
            "Default: the profile's.",
        ),
    ] = None
    variants: Annotated[
        list[str] | None, what("--variants", help="Only these, for example full,no-weight-drop. Repeatable.")
    ] = None

    def selection(self, device: str = "auto", **given: Any) -> Selection:
        """The selection of these variants."""
        variants = ",".join(self.variants) if self.variants else None
        return super().selection(device, datasets=self.dataset or (), variants=variants, **given)


@dataclass(frozen=True)
class SelectionOptions(VariantOptions):
    """Which runs, and where their results are."""

    seeds: Annotated[
        list[str] | None,
        what("--seeds", help="3 is seeds 1 to 3; 1,2,5 these; 7, seed 7 alone. Lists add up. Default: the profile's."),
    ] = None
    results: ResultsOption = Path("results")

    def selection(self, device: str = "auto", **given: Any) -> Selection:
        """The selection of these seeds."""
        seeds = self.seeds or []
        if len(seeds) > 1 and not all("," in text for text in seeds):
            raise InputError(f"--seeds {' --seeds '.join(seeds)}: lists such as 1,2 add up; a count stands alone")
        return super().selection(device, seeds=",".join(seeds) if seeds else None, **given)


@dataclass(frozen=True)
class TrainingOptions:
    """How runs are trained; nothing here changes a result."""

    jobs: Annotated[
        int | None,
        how("--jobs", "-j", min=1, help="Runs at a time. Default: as many as cores, each on one; 1 on a GPU."),
    ] = None
    device: DeviceOption = "auto"
    gpus: Annotated[
        str | None, how("--gpus", help="Spread the runs over these GPUs, for example 0,1; each run uses one.")
    ] = None
    backend: Annotated[
        Literal["loky", "threads", "sequential", "dask"],
        how("--backend", help="Processes of this machine, threads, this process itself, or a Dask cluster."),
    ] = "loky"
    scheduler: Annotated[
        str | None, how("--scheduler", help="With --backend dask: tcp://host:8786, or a scheduler file.")
    ] = None
    gpus_per_run: Annotated[
        int, how("--gpus-per-run", min=0, help="With --backend dask: how many of its resource GPU a run asks for.")
    ] = 0
    checkpoint_every: Annotated[
        str,
        how("--checkpoint-every", help="How often runs are saved: 5 (epochs), 10m, or auto: within 1% of the time."),
    ] = "auto"
    time_limit: Annotated[
        str | None, how("--time-limit", help="Save the runs and stop after, say, 25m; call again to go on.")
    ] = None
    max_restarts: Annotated[
        int,
        how("--max-restarts", min=0, help="How often a run whose worker died is started again; the last time, alone."),
    ] = 3
    keep_weights: Annotated[
        Literal["best", "none"],
        how("--keep-weights", help="Whether finished runs keep their weights, for AWDLSTM.from_pretrained."),
    ] = "best"
    tensorboard: Annotated[
        bool, how("--tensorboard", help="Write epochs for TensorBoard, too, into RESULTS/tensorboard.")
    ] = False
    force: Annotated[bool, how("--force", help="Train again what is done.")] = False
    retry_failed: Annotated[bool, how("--retry-failed", help="Train again what failed or diverged.")] = False
    no_audit: Annotated[bool, how("--no-audit", help="Train without measuring first what acts (see `audit`).")] = False

    def run_options(self, data_dir: Path | None) -> RunOptions:
        """How to run, with every word of the command line read.

        Raises:
            InputError: an option that cannot be, or two that contradict each other.
        """
        from ablations.cli.durations import parse_duration, parse_interval
        from ablations.execution.gpus import parse_gpus
        from ablations.execution.job import RunOptions
        from awd.device import resolve_device

        if self.gpus is not None and self.device != "auto":
            raise InputError(f"--gpus {self.gpus} and --device {self.device}: one of the two")
        same = ("jobs", "backend", "scheduler", "gpus_per_run", "max_restarts", "force", "retry_failed", "tensorboard")
        return RunOptions(
            **{name: getattr(self, name) for name in same},
            device=resolve_device(self.device),
            data_dir=data_dir,
            audit=not self.no_audit,
            gpus=() if self.gpus is None else parse_gpus(self.gpus),
            interval=parse_interval(self.checkpoint_every),
            keep_weights=self.keep_weights == "best",
            time_limit=None if self.time_limit is None else parse_duration(self.time_limit, "--time-limit"),
        )


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn a function into a command. A parameter that is a dataclass gives one option for each of its fields."""
    return lambda function: app.command(name, cls=_Command)(_spread(function))


class _Command(TyperCommand):
    """Refuses an option that is given twice where one would undo the other."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        for option, count in Counter(given).items():
            if count > 1 and not (option.multiple or getattr(option, "is_flag", False)):
                raise InputError(f"{option.opts[0]} was given {count} times; it counts once")
        return rest


def _spread(function: Callable[..., None]) -> Callable[..., None]:
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _options(parameter.annotation)
        else:
            parameters.append(parameter)

    @wraps(function)
    def with_groups(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        function(**given)

    vars(with_groups)["__signature__"] = inspect.Signature(parameters)
    return with_groups


def _options(group: Any) -> Iterator[inspect.Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind, annotation = inspect.Parameter.KEYWORD_ONLY, annotations[field.name]
        yield inspect.Parameter(field.name, kind, default=field.default, annotation=annotation)
