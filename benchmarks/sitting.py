"""Half an hour on a machine with a GPU, in one command: ``python -m benchmarks.sitting --help``."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from ablations.cli.paths import folder_option
from ablations.experiment.suite import load_suite
from ablations.storage.store import Store
from awd.device import resolve_device
from awd.files import write_text
from benchmarks.command import MeasurementError, make_app, run, say
from benchmarks.gpu import ask
from benchmarks.options import names
from benchmarks.record import describe, machine

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tests", "step", "share", "train")
TITLES = {
    "tests": "the tests marked gpu",
    "step": "a step and an epoch, by engine",
    "share": "runs side by side",
    "train": "all rows side by side",
}
_SHARE = 0.2  # of the minutes, at most, for each part that others follow
_SAVING = 0.1  # of the time left for training: what saving the runs and the report may take
_LEAST = 2.0  # seconds for which a command is started at all
_GRACE = 60.0  # seconds that a command is given to end by itself
_GOOD = {"train": (0, 3)}  # exit codes of success; 3 is saved at the limit

app = make_app("a part failed")


@dataclass(frozen=True)
class Plan:
    """What the commands of a sitting are made of.

    Attributes:
        out: what is to be brought home; ``work`` holds results with their checkpoints, which stay.
        device: a torch device, resolved.
    """

    out: Path
    work: Path
    device: str
    profile: str
    dataset: str
    config: str
    batch_sizes: list[str]
    engines: list[str]
    jobs: str

    def commands(self, part: str) -> list[list[str]]:
        """Of one part, without their interpreter."""
        return {"tests": self._tests, "step": self._step, "share": self._share, "train": self._train}[part]()

    def _tests(self) -> list[list[str]]:
        files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
        return [
            ["-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *(str(path.relative_to(ROOT)) for path in files)]
        ]

    def _step(self) -> list[list[str]]:
        saved = ["--config", self.config, "--device", self.device, "--save", "--results", str(self.out)]
        engines, commands = ",".join(self.engines), []
        for batch in self.batch_sizes:
            commands.append(["-m", "benchmarks.step", *saved, "--batch-size", batch, "--engines", engines])
        for batch in self.batch_sizes:
            for engine in self.engines:
                computed = dict(zip(("--engine", "--precision"), engine.split("-"), strict=True))
                options = [part for option in computed.items() for part in option]
                more = ["--batch-size", batch, "--windows", "20", "--rounds", "2", "--whole"]
                commands.append(["-m", "benchmarks.epoch", *saved, *options, *more])
        return commands

    def _share(self) -> list[list[str]]:
        saved = ["--config", self.config, "--device", self.device, "--save", "--results", str(self.out)]
        how = ["--parts", "jobs", "--carriers", "processes,threads", "--jobs", self.jobs, "--rounds", "2"]
        seconds = "0.1" if self.device == "cpu" else "5"
        return [
            ["-m", "benchmarks.throughput", *saved, *how, "--batch-size", self.batch_sizes[-1], "--seconds", seconds]
        ]

    def _train(self) -> list[list[str]]:
        where = ["--results", str(self.work / "results"), "--reports", str(self.out / "reports")]
        how = ["--backend", "threads", "--device", self.device, "--jobs", self.jobs.rpartition(",")[2]]
        kept = ["--keep-weights", "none", "--checkpoint-every", "2m"]
        what = ["--all", "--profile", self.profile, "--dataset", self.dataset]
        return [["run_ablations.py", "run", *what, *where, *how, *kept]]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        good: whether as it should.
        how: in words.
        seconds: it took.
        log: name of the file that holds what it said, in the folder ``logs``.
    """

    part: str
    command: str
    good: bool
    how: str
    seconds: float
    log: str


@app.command()
def sitting(
    out: Annotated[Path, folder_option("--out", help="Folder for what is to be brought home.")],
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Time for all of it.")] = 25.0,
    part: Annotated[
        list[str] | None, typer.Option("--part", help=f"Only this: {', '.join(PARTS)}. Repeatable.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cuda, cuda:N or cpu.")] = "cuda",
    profile: Annotated[str, typer.Option("--profile", help="What is trained.")] = "paper-short",
    dataset: Annotated[str, typer.Option("--dataset", help="On what.")] = "ptb",
    config: Annotated[str, typer.Option("--config", help="What is timed.")] = "paper-ptb",
    batch_sizes: Annotated[str, typer.Option("--batch-sizes", help="At which it is timed.")] = "20,40",
    engines: Annotated[
        str, typer.Option("--engines", help="By which it is timed.")
    ] = "torch-fp32,torch-bf16,fast-fp32,fast-bf16",
    jobs: Annotated[str, typer.Option("--jobs", help="Runs side by side; the last is how many train.")] = "1,2,4,9",
    work: Annotated[
        Path | None, folder_option("--work", help="Folder of results and checkpoints. Default: <out>-work.")
    ] = None,
) -> None:
    """Test, time and train on a GPU until the minutes are over; what failed is said, and the rest goes on.

    In this order: the tests marked gpu; a step and an epoch at paper size; runs side by side, in processes and in
    threads; with what is left, every row of Table 5 side by side, saved at the limit. Called again with the same
    folders, training goes on. The page is `sitting.md`; needs no network if the corpus is at hand (AWD_DATA_DIR).

    **Examples**

    * `python -m benchmarks.sitting --minutes 25 --out sitting` — all of it
    * `python -m benchmarks.sitting --minutes 9 --out sitting --part train` — only training, and again to go on
    """
    parts = names("--part", "part", ",".join(part or PARTS), PARTS)
    work = work or out.with_name(f"{out.name}-work")
    device = resolve_device(device)
    plan = Plan(
        out.resolve(),
        work.resolve(),
        device,
        profile,
        dataset,
        config,
        batch_sizes.split(","),
        engines.split(","),
        jobs,
    )
    deadline, about = time.monotonic() + 60 * minutes, {**machine(), "gpu": ask(device, "name,driver_version")}
    ended = []
    for number, name in enumerate(parts, 1):
        left = deadline - time.monotonic()
        limit = left if number == len(parts) else min(left, _SHARE * 60 * minutes)
        ended += attempt(plan, name, limit)
        if name == "train":
            bring_home(plan)
        _note(plan, name, [one for one in ended if one.part == name])
        write_text(plan.out / "sitting.md", page(plan, about))
    say(f"page: {plan.out / 'sitting.md'}")
    if bad := [one for one in ended if not one.good]:
        raise MeasurementError("; ".join(f"{one.part}: {one.how} (logs/{one.log})" for one in bad))


def attempt(plan: Plan, part: str, limit: float) -> list[Ended]:
    """Run the commands of a part one after another, whatever becomes of each, for so many seconds at most."""
    ended, over = [], time.monotonic() + limit
    for number, command in enumerate(plan.commands(part), 1):
        left = over - time.monotonic()
        if part == "train":
            command = [*command, "--time-limit", f"{max(1, math.floor(left * (1 - _SAVING)))}s"]
        ended.append(_run(plan, part, f"{part}-{number}.log", command, left))
        say(f"{part}: {ended[-1].how}, {ended[-1].seconds:.0f} s: {ended[-1].command}")
    return ended


def _run(plan: Plan, part: str, log: str, command: Sequence[str], seconds: float) -> Ended:
    told = shlex.join(["python", *command])
    if seconds < _LEAST:
        return Ended(part, told, False, "not started: no time was left", 0.0, log)
    (plan.out / "logs").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (plan.out / "logs" / log).open("w", encoding="utf-8") as file:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds)
            good, how = code in _GOOD.get(part, (0,)), f"exit code {code}"
        except subprocess.TimeoutExpired:
            process.terminate()  # a sweep saves its runs then
            good, how = False, f"stopped after {seconds:.0f} s"
        finally:
            _end(process)
    return Ended(part, told, good, how, time.monotonic() - started, log)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended, for a while."""
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def bring_home(plan: Plan) -> None:
    """Copy the shards of the trained runs, and write what they say: how far each row came, and its perplexities."""
    store = Store(plan.work / "results")
    for folder in (store.runs_folder, store.epochs_folder):
        if folder.is_dir():
            shutil.copytree(folder, plan.out / "results" / folder.name, dirs_exist_ok=True)
    if len(store.statuses()):
        write_text(plan.out / "train.md", trained(store))


def trained(store: Store) -> str:
    """How far each row came; side by side, at the epoch that all have reached."""
    order = [variant.name for variant in load_suite("table5").variants]
    runs = store.runs().sort_values("variant", key=lambda variants: variants.map(order.index))
    epochs = store.epochs(runs["run_id"])
    reached = int(epochs.groupby("run_id").size().reindex(runs["run_id"], fill_value=0).min())
    rows = [_row(row, epochs[epochs["run_id"] == row["run_id"]], reached) for row in runs.to_dict("records")]
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    profiles = ", ".join(sorted(set(runs["profile"])))
    return f"# Rows side by side: profile {profiles}\n\n{table}\n\nOnly a finished run has a test perplexity.\n"


def _row(row: Mapping[Any, Any], epochs: pd.DataFrame, reached: int) -> dict[str, str]:
    def text(value: float | None) -> str:
        return "–" if value is None or pd.isna(value) else f"{value:.2f}"

    return {
        "row": row["label"],
        "status": row["status"],
        "epochs": f"{row['epochs']:.0f}",
        "best validation": text(epochs["valid_ppl"].min()),
        f"best of the first {reached}": text(epochs["valid_ppl"].iloc[:reached].min()),
        "test": text(row["test_ppl"]),
        "seconds an epoch": text(epochs["seconds"].median()),
        "tokens a second": text(row["tokens_per_second"]),
    }


def _note(plan: Plan, part: str, ended: list[Ended]) -> None:
    """For the page, which later calls write anew."""
    write_text(plan.out / "logs" / f"{part}.json", json.dumps([asdict(one) for one in ended]))


def page(plan: Plan, about: dict[str, Any]) -> str:
    """What ended how, and every page that was written."""
    notes = [plan.out / "logs" / f"{part}.json" for part in PARTS]
    ended = [Ended(**one) for note in notes if note.exists() for one in json.loads(note.read_text(encoding="utf-8"))]
    rows = [
        {
            "part": TITLES[one.part],
            "command": f"`{one.command}`",
            "ended": f"{'' if one.good else '**failed**: '}{one.how}",
            "seconds": f"{one.seconds:.0f}",
            "log": one.log,
        }
        for one in ended
    ]
    pages = [path.read_text(encoding="utf-8") for path in sorted(plan.out.glob("*.md")) if path.name != "sitting.md"]
    head = f"# A sitting on {about['gpu'] or plan.device}\n\n{describe(about)}\n"
    return "\n".join([head, pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n", *pages])


if __name__ == "__main__":
    run(app)
