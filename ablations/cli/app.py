"""The command line, a function a command. Heavy imports wait for who needs them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from ablations.cli.console import say, stderr, stdout
from ablations.cli.options import (
    DataDirOption,
    DatasetOption,
    EngineOption,
    IntervalOption,
    PaperDatasetOption,
    PrecisionOption,
    ProfileOption,
    ProfilesOption,
    ReferenceOption,
    ReportsOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SuiteOption,
    VariantsOption,
    make_options,
    make_selection,
)
from ablations.cli.paths import require_temporary_folder
from ablations.cli.run import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    collect_report,
    draw_ladder,
    open_store,
    render,
    run_and_report,
    show,
)
from ablations.cli.tune import tune
from awd.errors import InputError

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all asked for is done, 1 some run failed, 2 wrong usage or input, 3 some run is paused, "
    "130 Ctrl-C, 143 SIGTERM (after 3, 130 and 143 the same command goes on).",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import awd

        stdout.print(awd.__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which regularizer of an AWD-LSTM language model earns its place, by how much, and how sure are we?

    Trains the full model and one variant per removed regularizer, stores every perplexity, and renders
    Table 5 of "Regularizing and Optimizing LSTM Language Models" beside the paper's numbers.

    **Examples**

    * `python run_ablations.py --all` — the demo: three seeds of nine variants, about ten minutes on two cores
    * `python run_ablations.py --all --profile paper --dataset ptb --device cuda` — the paper's own protocol
    * `python run_ablations.py --variants full,no-weight-drop --dataset my/folder` — your own text
    * `python run_ablations.py report` — tables and figures again, from the results
    """


@app.command()
def run(
    every: Annotated[bool, typer.Option("--all", help="Every variant of the suite.")] = False,
    suite: SuiteOption = "table5",
    profile: ProfileOption = "demo",
    dataset: DatasetOption = None,
    variants: VariantsOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Runs at a time. Default: as many as cores, each on one; 1 on a GPU."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    gpus: Annotated[
        str | None, typer.Option("--gpus", help="Deal the runs out over these GPUs, for example 0,1; each sees one.")
    ] = None,
    backend: Annotated[
        Literal["loky", "sequential", "dask"],
        typer.Option("--backend", help="Processes of this machine, this process itself, or a Dask cluster."),
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Of --backend dask: tcp://host:8786, or a scheduler file.")
    ] = None,
    gpus_per_run: Annotated[
        int, typer.Option("--gpus-per-run", min=0, help="Of --backend dask: the resource GPU that a run asks for.")
    ] = 0,
    checkpoint_every: Annotated[
        str,
        typer.Option(
            "--checkpoint-every", help="How often runs are saved: 5 (epochs), 10m, or auto: within 1% of the time."
        ),
    ] = "auto",
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="Save the runs and stop after, say, 25m; call again to go on.")
    ] = None,
    max_restarts: Annotated[
        int, typer.Option("--max-restarts", min=0, help="Of a run whose worker died; the last one is tried alone.")
    ] = 3,
    keep_weights: Annotated[
        Literal["best", "none"],
        typer.Option("--keep-weights", help="Of finished runs, for AWDLSTM.from_pretrained(results/weights/RUN)."),
    ] = "best",
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
    reference: ReferenceOption = REFERENCE,
    data_dir: DataDirOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; train and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Train again what is done.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train again what failed or diverged.")] = False,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Train without measuring first what acts (see `audit`).")
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Store the results only, as one of several callers may.")
    ] = False,
) -> None:
    """Train what is missing, store it, and render the report. Finished runs are never trained twice.

    Ctrl-C, SIGTERM and --time-limit save what is running; the same command goes on from there, as it does after any
    crash. Several calls on one --results folder, on any machines that share it, share the work.

    **Examples**

    * `run --all --profile smoke --results R --reports S` — the whole path in a minute
    * `run --all --seeds 1,2,3,4,5 --jobs 2` — five seeds
    * `run --all --profile paper --dataset ptb --gpus 0,1 --jobs 4 --time-limit 23h` — two GPUs, a day at a time
    * `run --variants full,no-weight-drop --set regularization.weight_dropout=0.2`
    * `run --all --profile paper --dataset ptb --dry-run` — what it would take
    """
    if every == (variants is not None):
        raise InputError("say what to run: either --all, or --variants with names from `list`")
    selection = make_selection(suite, profile, dataset, variants, seeds, settings, data_dir, engine, precision, device)
    options = make_options(
        selection=selection.resolved(),
        jobs=jobs,
        gpus=gpus,
        force=force,
        retry_failed=retry_failed,
        audit=not no_audit,
        backend=backend,
        scheduler=scheduler,
        gpus_per_run=gpus_per_run,
        max_restarts=max_restarts,
        checkpoint_every=checkpoint_every,
        time_limit=time_limit,
        keep_weights=keep_weights == "best",
    )
    if dry_run:
        from ablations.cli.listing import print_plan

        store, at_once = open_store(results), options.at_once
        print_plan(selection, store, stdout, force=force, retry_failed=retry_failed, jobs=at_once, messages=stderr)
        return
    run_and_report(selection.resolved(), options, results, None if no_report else reports, reference)


@app.command()
def audit(
    suite: SuiteOption = "table5",
    profile: ProfileOption = "demo",
    dataset: DatasetOption = None,
    variants: VariantsOption = None,
    settings: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    data_dir: DataDirOption = None,
) -> None:
    """Measure what acts in each variant, beside what its configuration says. Exit code 1 if they differ.

    Takes a few steps of each variant with hooks outside the model: which recurrent weights the kernel used, which
    words and units were dropped, what AR and TAR added, how each step moved the weights, what was validated. One
    variant alone is told in detail. A sweep does this by itself before it trains.

    **Examples**: `audit`; `audit --variants full --profile paper --dataset ptb`; `audit --suite my.yaml`
    """
    from ablations.cli.audit import audit_selection

    selection = make_selection(suite, profile, dataset, variants, None, settings, data_dir, engine, precision, "cpu")
    if not audit_selection(selection):
        raise typer.Exit(SOME_FAILED)


@app.command()
def report(
    suite: SuiteOption = "table5",
    profile: ProfileOption = "demo",
    dataset: DatasetOption = None,
    variants: VariantsOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
    reference: ReferenceOption = REFERENCE,
    interval: IntervalOption = "t",
    data_dir: DataDirOption = None,
) -> None:
    """Regenerate tables, figures and the page from the results; trains nothing.

    **Example**: `report --results results/reference --reports reports/reference` renders the published ones.
    """
    selection = make_selection(suite, profile, dataset, variants, seeds, settings, data_dir, engine, precision)
    data = collect_report(selection, results, reference, other_seeds=seeds is None, interval=interval)
    render(data, results, reports)


@app.command()
def compare(
    suite: SuiteOption = "table5",
    profile: ProfileOption = "demo",
    dataset: DatasetOption = None,
    variants: VariantsOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    results: ResultsOption = Path("results"),
    reference: ReferenceOption = REFERENCE,
    interval: IntervalOption = "t",
    data_dir: DataDirOption = None,
) -> None:
    """Print the table beside the paper's numbers and the published reference runs.

    **Example**: `compare --results results/reference` shows the published runs.
    """
    selection = make_selection(suite, profile, dataset, variants, seeds, settings, data_dir, engine, precision)
    show(collect_report(selection, results, reference, other_seeds=seeds is None, interval=interval), results)


@app.command()
def ladder(
    profiles: ProfilesOption = None,
    suite: SuiteOption = "table5",
    dataset: PaperDatasetOption = None,
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
    interval: IntervalOption = "t",
    data_dir: DataDirOption = None,
) -> None:
    """Show how each effect grows with scale: its size at every profile that has runs, beside the paper's own.

    Each row's difference to the full model, with its interval, against the share of the paper's training that a run
    takes. Writes `ladder.png, .pdf, .md` and `.csv` into `ladder/` of the reports; trains nothing. From three rungs of
    the paper's own text on, a straight line says what they would come to at the paper's size: an extrapolation, and
    no measurement.

    **Examples**

    * `ladder --results results/reference` — the published runs
    * `ladder --profiles small,my.yaml --dataset ptb` — these two, on Penn Treebank alone
    """
    draw_ladder(profiles, suite, dataset, results, reports, interval, data_dir)


app.command()(tune)


@app.command("list")
def list_() -> None:
    """List suites with their variants, profiles and data sets."""
    from ablations.cli.listing import print_choices

    print_choices(stdout)


@app.command()
def status(
    suite: SuiteOption = "table5",
    profile: ProfileOption = "demo",
    dataset: DatasetOption = None,
    variants: VariantsOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    results: ResultsOption = Path("results"),
    data_dir: DataDirOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until every run is done, failed or diverged; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Say which runs are done, running, paused, failed or missing, and what remains. Exit code 1 unless all are done.

    Works from any machine that sees the results folder, whoever trains the runs.
    """
    from ablations.cli.status import print_status

    selection = make_selection(suite, profile, dataset, variants, seeds, settings, data_dir, engine, precision)
    try:
        all_done = print_status(selection, open_store(results), stdout, watch=watch)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if not all_done:
        raise typer.Exit(SOME_FAILED)


@app.command()
def data(
    names: Annotated[list[str], typer.Argument(help="python-docs, ptb, wikitext-2, or a folder.")],
    data_dir: DataDirOption = None,
) -> None:
    """Fetch a corpus, or check one at hand: token counts, vocabulary, digest.

    **Examples**: `data ptb`; `data wikitext-2 --data-dir ~/corpora`; `data my/folder`
    """
    from ablations.cli.listing import print_corpus
    from awd.corpus import load_corpus

    for name in names:
        print_corpus(load_corpus(name, data_dir=data_dir, on_message=say), stdout)


def main() -> NoReturn:
    """Run the command line; every error that the user can mend ends in one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or pipe that cannot write Δ gets a question mark
    arguments = sys.argv[1:]
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        arguments = ["run", *arguments]  # --all alone means run --all
    try:
        require_temporary_folder()
        app(arguments)
    except InputError as error:
        stderr.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    sys.exit(DONE)
