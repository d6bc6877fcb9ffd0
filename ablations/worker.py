"""One run in one process: load the corpus, train, store; what goes wrong is a recorded status, not an exception."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablations.plan import RunSpec
from ablations.progress import Progress, ProgressFolder
from ablations.provenance import Provenance
from ablations.store import DIVERGED, DONE, FAILED, Store
from awd.errors import CorpusError, DivergedError


@dataclass(frozen=True)
class Job:
    """What a worker is sent: small and picklable.

    Attributes:
        spec: the run.
        results: the results folder.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        provenance: stored with the result.
        parent_pid: process that hands out the runs.
        audit: what the audit of its configuration found, stored with the result.
    """

    spec: RunSpec
    results: Path
    device: str
    data_dir: Path | None
    provenance: Provenance
    parent_pid: int
    audit: str


@dataclass(frozen=True)
class Summary:
    """What a worker sends back.

    Attributes:
        run_id: of the run.
        status: ``done``, ``failed`` or ``diverged``.
        error: why, unless done.
        valid_ppl: best validation perplexity; ``None`` unless done.
        test_ppl: test perplexity; ``None`` unless done.
        seconds: it took.
    """

    run_id: str
    status: str
    error: str | None
    valid_ppl: float | None
    test_ppl: float | None
    seconds: float


def execute(job: Job) -> Summary:
    """Train one run and store it, whatever comes of it."""
    _leave_ctrl_c_to_the_parent(job.parent_pid)
    progress = ProgressFolder(job.results)
    started = time.perf_counter()
    epochs: list[dict[str, Any]] = []
    try:
        outcome = _train(job, progress, epochs)
    except DivergedError as error:
        outcome = {"status": DIVERGED, "error": str(error)}
    except CorpusError as error:
        outcome = {"status": FAILED, "error": str(error)}
    except Exception as error:  # a run's failure is a result, and never stops the others
        outcome = {"status": FAILED, "error": "".join(traceback.format_exception(error, limit=-4)).strip()}
    outcome["seconds"] = time.perf_counter() - started
    summary = _store(job, outcome, epochs)
    progress.remove(job.spec.run_id)
    return summary


def describe(job: Job) -> dict[str, Any]:
    """The columns that are known before a run has an outcome."""
    spec = job.spec
    named = {name: getattr(spec, name) for name in ("run_id", "suite", "profile", "dataset", "corpus_sha256")}
    named |= {name: getattr(spec, name) for name in ("variant", "label", "seed", "engine", "precision")}
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        **named,
        **asdict(job.provenance),
        "device": job.device,
        "audit": job.audit,
        "config": spec.config_json,
        "finished_at": finished,
    }


def _leave_ctrl_c_to_the_parent(parent_pid: int) -> None:
    # Ctrl-C reaches the whole process group; the parent ends its workers, who would only print tracebacks
    if os.getpid() != parent_pid and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _train(job: Job, progress: ProgressFolder, epochs: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    from awd.corpus import load_corpus
    from awd.corpus.text import encode
    from awd.device import keep_freed_memory, use_exact_float32
    from awd.engine import make_engine
    from awd.trainer import EpochRecord, Trainer

    # one thread a run: two runs of one thread each do more than one of two, and never fight over a core
    torch.set_num_threads(1)
    use_exact_float32()
    keep_freed_memory()
    spec, config = job.spec, job.spec.config
    most_epochs = config.training.epochs + config.finetuning.epochs
    # the parent has fetched it
    text = load_corpus(spec.source, data_dir=job.data_dir, download=False)
    if text.sha256 != spec.corpus_sha256:
        raise CorpusError(f"{spec.source}: the corpus changed after the runs were planned; start again")

    def on_epoch(record: EpochRecord) -> None:
        epochs.append({"run_id": spec.run_id, **asdict(record)})
        seconds = sum(epoch["seconds"] for epoch in epochs)
        done = Progress(spec.run_id, os.getpid(), record.phase, len(epochs), most_epochs, record.valid_ppl, seconds)
        progress.update(done)

    progress.update(Progress(spec.run_id, os.getpid(), "train", 0, most_epochs, None, 0.0))
    trainer = Trainer(
        config,
        encode(text, config.corpus.train_tokens),
        spec.seed,
        device=job.device,
        engine=make_engine(spec.engine, spec.precision, job.device),
        on_epoch=on_epoch,
    )
    result = trainer.run()
    return {
        "status": DONE,
        "valid_ppl": result.valid_ppl,
        "test_ppl": result.test_ppl,
        "averaging_started": result.averaging_started,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "device": _device_name(job.device),
    }


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _store(job: Job, outcome: dict[str, Any], epochs: list[dict[str, Any]]) -> Summary:
    seconds = sum(epoch["seconds"] for epoch in epochs)
    row = {
        **describe(job),
        **outcome,
        "epochs": len(epochs),
        "tokens_per_second": sum(epoch["tokens"] for epoch in epochs) / seconds if seconds else None,
    }
    status, error = outcome["status"], outcome.get("error")
    try:
        if not Store(job.results).write(row, epochs):
            error = f"{error} (the earlier result is kept)"
    except Exception as failure:
        status, error = FAILED, f"{error}; not stored: {failure}" if error else f"not stored: {failure}"
    valid_ppl, test_ppl = outcome.get("valid_ppl"), outcome.get("test_ppl")
    return Summary(job.spec.run_id, status, error, valid_ppl, test_ppl, outcome["seconds"])
