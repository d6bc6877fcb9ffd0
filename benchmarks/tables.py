"""Timings and profiles as frames, markdown pages and a terminal table."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from benchmarks.configurations import CONFIGURATIONS, ENGINES, REFERENCE

if TYPE_CHECKING:
    import pandas as pd

_COMPARED_WITH = (REFERENCE, "bare-fp32", "torch-bf16")
_SMALLEST_SHARE = 0.005  # operations that take less are told in one row


def summary(seconds: dict[str, list[float]], tokens: int) -> dict[str, Any]:
    """Medians, rates, and speed-ups over the reference with their range.

    Args:
        seconds: a step's, a number a round, by engine.
        tokens: of one step.
    """
    medians = {engine: median(times) for engine, times in seconds.items()}
    return {
        "median_seconds": medians,
        "tokens_per_second": {engine: tokens / time for engine, time in medians.items()},
        "speedup": {engine: medians[REFERENCE] / time for engine, time in medians.items() if REFERENCE in medians},
        "spread": _spread(seconds, REFERENCE),
        "seconds": seconds,
    }


def _spread(seconds: dict[str, list[float]], base: str) -> dict[str, tuple[float, float]]:
    """Smallest and largest of a round's ratio to ``base``, by engine; empty if ``base`` was not timed."""
    if base not in seconds:
        return {}
    ratios = {
        engine: [of_base / own for of_base, own in zip(seconds[base], times, strict=True)]
        for engine, times in seconds.items()
    }
    return {engine: (min(values), max(values)) for engine, values in ratios.items()}


def timings_frame(result: dict[str, Any]) -> pd.DataFrame:
    """A row for each engine and round; the engine's summary is repeated."""
    import pandas as pd

    setting = {name: result[name] for name in ("config", "device", "batch_size", "length", "threads")}
    rows = [
        {
            **setting,
            "steps_per_round": result["steps_per_round"],
            "engine": engine,
            "round": number,
            "seconds": seconds,
            "median_seconds": result["median_seconds"][engine],
            "speedup": result["speedup"].get(engine),
            "peak_mib": result["peak_mib"][engine],
        }
        for engine, times in result["seconds"].items()
        for number, seconds in enumerate(times, start=1)
    ]
    return pd.DataFrame(rows)


def timings_rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """The cells of the table, a row an engine."""
    medians, bases = result["median_seconds"], [base for base in _COMPARED_WITH if base in result["median_seconds"]]
    spreads = {base: _spread(result["seconds"], base) for base in bases}
    rows = []
    for engine, seconds in medians.items():
        row = {
            "engine": engine,
            "ms a step": f"{1000 * seconds:,.1f}",
            "tokens/s": f"{result['tokens_per_second'][engine]:,.0f}",
        }
        for base in bases:
            low, high = spreads[base][engine]
            ratio = f"{medians[base] / seconds:.2f}"
            row[f"x {base}"] = ratio if engine == base else f"{ratio} ({low:.2f} to {high:.2f})"
        rows.append({**row, "peak MiB": f"{result['peak_mib'][engine]:,.0f}"})
    return rows


def timings_title(result: dict[str, Any]) -> str:
    """What was timed."""
    threads = f", {_count(result['threads'], 'thread')}" * (result["device"] == "cpu")
    return f"One training step: {result['config']}, batch {result['batch_size']}, {result['device']}{threads}"


def timings_notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    rounds, steps = _count(result["rounds"], "round"), _count(result["steps_per_round"], "step")
    hardware = "has" if result["bf16_in_hardware"] else "has no"
    kind = "processor" if result["device"] == "cpu" else "GPU"
    return [
        f"Trained: {CONFIGURATIONS[result['config']].title}, on random text; every window has "
        f"{_count(result['length'], 'token')}.",
        f"Medians of {rounds} of {steps} each, the engines by turns; in brackets the smallest and the largest ratio "
        f"within a round.",
        f"Memory: {result['peak_of']}. This {kind} {hardware} instructions for bfloat16.",
    ]


def timings_page(result: dict[str, Any]) -> str:
    """The table and its notes in markdown."""
    lines = [f"- `{engine}`: {ENGINES[engine]}" for engine in result["median_seconds"]]
    parts = [f"# {timings_title(result)}", _markdown(timings_rows(result)), *timings_notes(result), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def terminal_table(result: dict[str, Any]) -> Table:
    """The table and its notes in a terminal."""
    notes = "\n".join(timings_notes(result))
    return _terminal(timings_rows(result), timings_title(result), notes)


def operations_frame(engine: str, settings: dict[str, Any], operations: list[tuple[str, int, float]]) -> pd.DataFrame:
    """A row an operation of one step, the longest first; ``share`` is of the sum of their own times."""
    import pandas as pd

    frame = pd.DataFrame(operations, columns=["operation", "calls", "milliseconds"])
    frame["milliseconds"] /= 1000  # the profiler's are microseconds
    frame["share"] = frame["milliseconds"] / frame["milliseconds"].sum()
    frame = frame.sort_values("share", ascending=False, ignore_index=True)
    return frame.assign(engine=engine, **settings)


def operations_page(frame: pd.DataFrame) -> str:
    """One step by operation, in markdown."""
    first = frame.iloc[0]
    large, small = (frame[frame["share"].ge(_SMALLEST_SHARE).eq(wanted)] for wanted in (True, False))
    rows = [(row.operation, row.share, row.milliseconds, row.calls) for row in large.itertuples()]
    if len(small):
        others = f"{_count(len(small), 'other operation')}, each under {_SMALLEST_SHARE:.1%}"
        rows.append((others, small["share"].sum(), small["milliseconds"].sum(), small["calls"].sum()))
    cells = [
        {"operation": str(name), "share": f"{share:.1%}", "ms": f"{ms:,.2f}", "calls": f"{calls:,}"}
        for name, share, ms, calls in rows
    ]
    title = f"# One training step of {first.engine}: {first.config}, batch {first.batch_size}, {first.device}"
    note = "Each operation's own time, without what it calls; by torch.profiler, which slows the step."
    return "\n\n".join([title, _markdown(cells), note]) + "\n"


def _markdown(rows: list[dict[str, str]]) -> str:
    import pandas as pd

    align = ["left", *["right"] * (len(rows[0]) - 1)]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=align)


def _terminal(rows: list[dict[str, str]], title: str, notes: str) -> Table:
    table = Table(title=title, caption=notes, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "engine" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    return table


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"
