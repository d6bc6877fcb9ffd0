"""What an epoch costs beside its bare training steps: ``python -m benchmarks.epoch --help``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awd.config import Config
from awd.corpus import DATASETS
from awd.errors import InputError
from awd.messages import unknown
from benchmarks.command import make_app, run, say, say_written
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.options import DeviceOption, EngineOption, PrecisionOption, ResultsOption, SaveOption
from benchmarks.record import RESULTS, machine, write

if TYPE_CHECKING:
    from awd.corpus.text import Encoded
    from awd.engine import Engine
    from awd.streams import Streams
    from awd.trainer import Trainer
    from awd.windows import Window

# tokens of the training and the validation split, with <eos>; the small model's text is as long as Penn Treebank
_PTB, _WIKITEXT2 = ((DATASETS[name].tokens["train"], DATASETS[name].tokens["valid"]) for name in ("ptb", "wikitext-2"))
SPLITS = {
    "paper-ptb": _PTB,
    "paper-wt2": _WIKITEXT2,
    "small": _PTB,
    "demo": (8_000, 11_148),
    "tiny": (3_000, 400),
}
GOAL = 1.1
_WARM_UP = 2  # windows of each pass that are not counted: memory is allocated, the average is made

app = make_app()


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        name: of the configuration.
        config: of the runs.
        vocabulary_size: number of words.
        engine: what computes the training steps.
        device: where, resolved.
    """

    name: str
    config: Config
    vocabulary_size: int
    engine: Engine
    device: str = "cpu"


@app.command()
def epoch(
    config: Annotated[str, typer.Option("--config", help=f"What is trained: {', '.join(SPLITS)}.")] = "paper-ptb",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Sequences. Default: the configuration's.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads.")] = 1,
    device: DeviceOption = "cpu",
    windows: Annotated[int, typer.Option("--windows", min=1, help="Training steps counted in each pass.")] = 8,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Passes without and with averaging.")] = 3,
    whole: Annotated[
        bool, typer.Option("--whole", help="Really train and validate one epoch, averaging: minutes at paper size.")
    ] = False,
    save: SaveOption = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Compare an epoch (steps that average the weights, then validation) with its training steps alone.

    The trainer's own steps run over the same windows without and with averaging, in turns, from the same seed; then
    validation is timed on a whole split. Both are scaled to the corpus' real size: seconds of the median step times the
    number of windows in an epoch. Words are random: what they are changes no time. Only --whole extrapolates
    nothing but the bare steps.

    **Examples**

    * `python -m benchmarks.epoch --config paper-ptb --engine fast --precision bf16 --save` — some minutes
    * `python -m benchmarks.epoch --config demo --windows 50` — seconds
    * `python -m benchmarks.epoch --config paper-ptb --whole` — an epoch of the paper's model
    """
    if config not in SPLITS:
        raise InputError(f"--config: {unknown('configuration', config, SPLITS)}")
    import torch

    from awd.device import keep_freed_memory, resolve_device, use_exact_float32
    from awd.engine import make_engine

    torch.set_num_threads(threads)
    use_exact_float32()
    keep_freed_memory()
    about = machine()
    device = resolve_device(device)
    setting = make_setting(config, make_engine(engine, precision, device), batch_size, device)
    rows = measure(setting, windows, rounds, whole)
    page = render(setting, rows, threads)
    print(page, end="")
    if save:
        batch = setting.config.training.batch_size
        name = f"epoch-{config}-b{batch}-{setting.engine.name}-{setting.engine.precision}{'-cuda' * (device != 'cpu')}"
        paths = write(f"{name}{'-whole' * whole}", frame(setting, rows, threads), page, results, about)
        say_written(paths)


def make_setting(name: str, engine: Engine, batch_size: int | None = None, device: str = "cpu") -> Setting:
    """A configuration cut to one epoch."""
    chosen = CONFIGURATIONS[name]
    config = replace(
        chosen.config,
        training=replace(chosen.config.training, batch_size=batch_size or chosen.batch_size, epochs=1),
        finetuning=replace(chosen.config.finetuning, epochs=0),
    )
    return Setting(name, config, chosen.vocabulary_size, engine, device)


def measure(setting: Setting, windows: int, rounds: int, whole: bool) -> list[dict[str, Any]]:
    """What was timed: ``what`` (``bare``, ``averaging``, ``validation`` or ``epoch``), ``round``, ``seconds``."""
    corpus = random_corpus(setting)
    rows = []
    for number in range(1, rounds + 1):
        # the same seed gives both passes of a round the same windows
        for what, averaging in (("bare", False), ("averaging", True)):
            seconds = step_seconds(setting, corpus, averaging, windows, seed=number)
            rows += [{"what": what, "round": number, "seconds": second} for second in seconds]
            say(f"round {number}, {what}: {median(seconds):.4f} s a step")
    rows.append({"what": "validation", "round": 1, "seconds": validation_seconds(setting, corpus)})
    say(f"validation: {rows[-1]['seconds']:.1f} s")
    if whole:
        rows.append({"what": "epoch", "round": 1, "seconds": epoch_seconds(setting, corpus)})
        say(f"a whole epoch: {rows[-1]['seconds']:.1f} s")
    return rows


def random_corpus(setting: Setting) -> Encoded:
    """Words drawn by Zipf's law, splits as long as the real ones; the test split is the shortest that loads."""
    import torch

    from awd.corpus.text import Encoded

    generator = torch.Generator().manual_seed(1)
    frequencies = 1 / torch.arange(1, setting.vocabulary_size + 1, dtype=torch.float64)

    def draw(tokens: int) -> list[int]:
        return torch.multinomial(frequencies, tokens, replacement=True, generator=generator).tolist()

    train, valid = SPLITS[setting.name]
    shortest = 2 * setting.config.training.test_batch_size
    return Encoded([str(word) for word in range(setting.vocabulary_size)], draw(train), draw(valid), draw(shortest))


def step_seconds(setting: Setting, corpus: Encoded, averaging: bool, windows: int, seed: int) -> list[float]:
    """Seconds of each of the trainer's steps, after some to warm up, without or with averaging."""
    trainer = make_trainer(setting, corpus, averaging, seed)
    cut = epoch_windows(setting, trainer.streams)
    if len(cut) < _WARM_UP + windows:
        raise InputError(f"--windows {windows}: an epoch of {setting.name} has {len(cut)} windows")
    seconds = []
    for window in cut[: _WARM_UP + windows]:
        started = time.perf_counter()
        trainer.step(window)
        _wait(setting)
        seconds.append(time.perf_counter() - started)
    return seconds[_WARM_UP:]


def make_trainer(setting: Setting, corpus: Encoded, averaging: bool, seed: int) -> Trainer:
    """A trainer that averages from the first step, or never."""
    from awd.trainer import Trainer

    optimizer = replace(setting.config.optimizer, method="asgd" if averaging else "sgd", average_from=0)
    config = replace(setting.config, optimizer=optimizer)
    return Trainer(config, corpus, seed, device=setting.device, engine=setting.engine)


def _wait(setting: Setting) -> None:
    if setting.device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(setting.device)


def validation_seconds(setting: Setting, corpus: Encoded) -> float:
    """Seconds of the validation at the end of an epoch."""
    from awd.evaluation import evaluate

    trainer = make_trainer(setting, corpus, averaging=False, seed=1)
    evaluate(trainer.model, trainer.valid_data[:2])
    started = time.perf_counter()
    evaluate(trainer.model, trainer.valid_data)
    return time.perf_counter() - started


def epoch_seconds(setting: Setting, corpus: Encoded) -> float:
    """Seconds of a whole epoch with averaging and validation, as the trainer records them."""
    return make_trainer(setting, corpus, averaging=True, seed=1).epoch().seconds


def epoch_windows(setting: Setting, streams: Streams) -> list[Window]:
    """The windows of the first epoch of the run that draws from ``streams``."""
    from awd.windows import windows

    rows = SPLITS[setting.name][0] // setting.config.training.batch_size
    return list(windows(rows, setting.config.windows, streams["window lengths"]))


def count_windows(setting: Setting) -> int:
    """Windows in an epoch of the first seed."""
    from awd.streams import Streams

    return len(epoch_windows(setting, Streams(1)))


def summary(rows: list[dict[str, Any]], count: int) -> dict[str, float]:
    """Seconds of an epoch of ``count`` windows, by part, and what it costs beside its bare steps.

    Returns:
        ``bare, averaging, validation, epoch`` in seconds (``epoch`` as measured, if it was), their ``ratio``, and the
        ``lowest`` and ``highest`` of a round's ratio.
    """

    def of(what: str, number: int | None = None) -> list[float]:
        return [row["seconds"] for row in rows if row["what"] == what and number in (None, row["round"])]

    bare, averaging, validation = median(of("bare")) * count, median(of("averaging")) * count, of("validation")[0]
    measured = of("epoch")
    total = measured[0] if measured else averaging + validation
    by_round = [
        (median(of("averaging", number)) * count + validation) / (median(of("bare", number)) * count)
        for number in sorted({row["round"] for row in rows if row["what"] == "bare"})
    ]
    return {
        "bare": bare,
        "averaging": averaging,
        "validation": validation,
        "epoch": total,
        "ratio": total / bare,
        "lowest": min(by_round),
        "highest": max(by_round),
    }


def frame(setting: Setting, rows: list[dict[str, Any]], threads: int) -> Any:
    """What was timed, a row each, with the setting and the windows of an epoch."""
    import pandas as pd

    return pd.DataFrame(rows).assign(
        config=setting.name,
        engine=setting.engine.name,
        precision=setting.engine.precision,
        batch_size=setting.config.training.batch_size,
        threads=threads,
        windows=count_windows(setting),
    )


def render(setting: Setting, rows: list[dict[str, Any]], threads: int) -> str:
    """The page."""
    count, training = count_windows(setting), setting.config.training
    found = summary(rows, count)
    train, valid = SPLITS[setting.name]
    timed = sum(row["what"] == "bare" for row in rows)
    whole = any(row["what"] == "epoch" for row in rows)
    how = "measured whole" if whole else "extrapolated: averaging steps and validation"
    engine = f"{setting.engine.name} {setting.engine.precision}"
    option = f"--config {setting.name} --engine {setting.engine.name} --precision {setting.engine.precision}"
    return f"""# An epoch beside its bare training steps: {setting.name}, {engine}

| part | seconds | share of bare steps |
|:--|--:|--:|
| {count:,} training steps, no averaging | {found["bare"]:.1f} | 1 |
| the same with averaging | {found["averaging"]:.1f} | {found["averaging"] / found["bare"]:.3f} |
| validation, {valid:,} tokens at batch {training.valid_batch_size} | {found["validation"]:.1f} | \
{found["validation"] / found["bare"]:.3f} |
| **an epoch** ({how}) | {found["epoch"]:.1f} | **{found["ratio"]:.3f}** |

Goal: at most {GOAL}. From round to round {found["lowest"]:.3f} to {found["highest"]:.3f}.
Batch {training.batch_size}, {threads} thread{"s" * (threads != 1)}{", on a GPU" * (setting.device != "cpu")}.

Steps are the trainer's own, the same windows without and with averaging in turns; seconds are the median of
{timed} steps each, times the {count:,} windows into which an epoch cuts {train:,} tokens. Validation is
timed on {valid:,} random tokens, once. Regenerate with
`python -m benchmarks.epoch {option} --batch-size {training.batch_size}{" --whole" * whole} --save`.
"""


if __name__ == "__main__":
    run(app)
