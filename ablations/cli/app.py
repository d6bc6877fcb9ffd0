"""The command line, one function per command. A heavy import waits for the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ablations.cli.console import complain, open_streams, say_json, stderr, stdout, tell
from ablations.cli.evaluate import evaluate, generate
from ablations.cli.options import (
    DataDirOption,
    IntervalOption,
    JsonOption,
    OpenOption,
    QuietOption,
    ReferenceOption,
    ReportsOption,
    ResultsOption,
    SelectionOptions,
    SuiteOption,
    TrainingOptions,
    VariantOptions,
    command,
    what,
)
from ablations.cli.paths import require_temporary_folder
from ablations.cli.run import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, run_and_report, say_where, show, write
from ablations.cli.tune import retune, tune
from ablations.storage import REFERENCE
from ablations.terminal import say
from awd.errors import InputError

if TYPE_CHECKING:
    from ablations.analysis.comparison import Comparison

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all asked for is done, 1 some run failed, 2 wrong usage or input, 3 some run is paused, "
    "130 Ctrl-C, 143 SIGTERM (after 3, 130 and 143 the same command goes on).",
)


_OF_THE_PROGRAM = ("-h", "--help", "--version", "--install-completion", "--show-completion")


def _print_version(wanted: bool) -> None:
    if wanted:
        import awd

        say(stdout, awd.__version__)
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


@command(app)
def run(
    *,
    every: Annotated[bool, what("--all", help="Every variant of the suite.")] = False,
    chosen: SelectionOptions,
    training: TrainingOptions,
    reports: ReportsOption = Path("reports"),
    reference: ReferenceOption = REFERENCE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; train and write nothing.")] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Store the results only, as one of several callers may.")
    ] = False,
    quiet: QuietOption = False,
    opened: OpenOption = False,
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
    if every == (chosen.variants is not None):
        raise InputError("say what to run: either --all, or --variants with names from `list`")
    selection = chosen.selection(training.device)
    options = training.run_options(selection.data_dir)
    if dry_run:
        from ablations.cli.listing import print_plan
        from ablations.storage.store import Store

        print_plan(selection, Store(chosen.results), options, stdout, stderr)
        return
    reports_or_none = None if no_report else reports
    run_and_report(selection.resolved(), options, chosen.results, reports_or_none, reference, opened=opened)


@command(app)
def audit(*, chosen: VariantOptions) -> None:
    """Measure what acts in each variant, beside what its configuration says. Exit code 1 if they differ.

    Takes a few steps of each variant with hooks outside the model: which recurrent weights the kernel used, which
    words and units were dropped, what AR and TAR added, how each step moved the weights, what was validated. One
    variant alone is told in detail. A sweep does this by itself before it trains.

    **Examples**: `audit`; `audit --variants full --profile paper --dataset ptb`; `audit --suite my.yaml`
    """
    from ablations.cli.audit import audit_selection

    if not audit_selection(chosen.selection("cpu")):
        raise typer.Exit(SOME_FAILED)


@command(app)
def report(
    *,
    chosen: SelectionOptions,
    reports: ReportsOption = Path("reports"),
    reference: ReferenceOption = REFERENCE,
    interval: IntervalOption = "t",
    opened: OpenOption = False,
) -> None:
    """Regenerate tables, figures and the page from the results; trains nothing.

    **Example**: `report --results results/reference --reports reports/reference` renders the published ones.
    """
    folder = write(_recorded(chosen, reference, interval), reports)
    say_where(folder / "index.html", opened=opened)


@command(app)
def compare(
    *,
    chosen: SelectionOptions,
    reference: ReferenceOption = REFERENCE,
    interval: IntervalOption = "t",
    as_json: JsonOption = False,
) -> None:
    """Print the table beside the paper's numbers and the published reference runs.

    **Example**: `compare --results results/reference` shows the published runs.
    """
    data = _recorded(chosen, reference, interval)
    if as_json:
        from ablations.cli.listing import comparison

        say_json(comparison(data))
    else:
        show(data)


def _recorded(chosen: SelectionOptions, reference: Path, interval: str) -> Comparison:
    from ablations import api

    other_seeds = chosen.seeds is None
    return api.compare(
        chosen.selection(), chosen.results, reference=reference, other_seeds=other_seeds, interval=interval
    )


@command(app)
def ladder(
    *,
    profiles: Annotated[
        str | None,
        what(
            "--profiles",
            help="Rungs, for example demo,small: names (see `list`) or .yaml files. Default: every scaled-down one "
            "that has finished runs, without smoke.",
        ),
    ] = None,
    suite: SuiteOption = "table5",
    dataset: Annotated[
        list[str] | None, what("--dataset", help="One of the paper's: ptb, wikitext-2. Repeatable. Default: both.")
    ] = None,
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
    from ablations import api
    from ablations.reporting.ladder import ladder_terminal

    found = api.ladder(
        results, profiles=profiles, suite=suite, datasets=dataset or (), interval=interval, data_dir=data_dir
    )
    stdout.print(ladder_terminal(found, stdout.width))
    write(found, reports)


command(app)(tune)
command(app)(retune)
command(app)(evaluate)
command(app)(generate)


@command(app, "list")
def list_(as_json: JsonOption = False) -> None:
    """List suites with their variants, profiles, searches and data sets."""
    from ablations.cli.listing import choices, print_choices

    if as_json:
        say_json(choices())
    else:
        print_choices(stdout)


@command(app)
def status(
    *,
    chosen: SelectionOptions,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until every run is done, failed or diverged; Ctrl-C ends it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which runs are done, running, paused, failed or missing, and what remains. Exit code 1 unless all are done.

    Works from any machine that sees the results folder, whoever trains the runs.
    """
    from ablations.cli.status import print_status
    from ablations.storage.store import Store

    if watch and as_json:
        raise InputError("--watch and --json: one of the two")
    try:
        all_done = print_status(chosen.selection(), Store(chosen.results), stdout, watch=watch, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if not all_done:
        raise typer.Exit(SOME_FAILED)


@command(app)
def data(
    *,
    names: Annotated[list[str], typer.Argument(help="python-docs, ptb, wikitext-2, or a folder.")],
    profile: Annotated[
        str | None, typer.Option("--profile", help="As this profile would use it. Default: the whole corpus.")
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Fetch a corpus, or check one at hand: token counts, vocabulary, share of unknown words, digest.

    **Examples**: `data ptb`; `data wikitext-2 --data-dir ~/corpora`; `data my/folder --profile demo`
    """
    from ablations.cli.listing import print_corpus
    from ablations.experiment.selection import select, usages
    from awd.corpus import load_corpus
    from awd.corpus.usage import examine

    for name in names:
        text = load_corpus(name, data_dir=data_dir, on_message=tell)
        if profile is None:
            found = [examine(text)]
        else:
            found = usages(select("table5", profile, [name], engine="torch", precision="fp32"), [text])
        print_corpus(text, found, stdout)


def main() -> NoReturn:
    """Run the command line; every error that the user can mend ends in one message and exit code 2."""
    open_streams()
    arguments = sys.argv[1:]
    if arguments and arguments[0].startswith("-") and arguments[0] not in _OF_THE_PROGRAM:
        arguments = ["run", *arguments]  # --all alone means run --all
    try:
        require_temporary_folder()
        app(arguments)
    except InputError as error:
        complain(f"error: {error}")
        sys.exit(BAD_INPUT)
    sys.exit(DONE)
