"""One run in one process: take its lease, train it or go on with it, store it; what goes wrong is a recorded status."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.execution.watch import NotStartedError, Watch, has_lost_its_parent
from ablations.experiment.plan import RunSpec
from ablations.storage.leases import Lease, LeaseLostError, Leases
from ablations.storage.progress import ProgressFolder
from ablations.storage.provenance import Provenance, on_this_machine
from ablations.storage.status import Status
from ablations.storage.store import Store, StoreError
from awd.errors import DivergedError, InputError

if TYPE_CHECKING:
    from awd.checkpoint import Checkpoints, Interval
    from awd.corpus.text import Encoded
    from awd.trainer import Trainer


@dataclass(frozen=True)
class Job:
    """What a worker is sent: small and picklable.

    Attributes:
        spec: the run.
        results: the results folder.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        provenance: stored with the result.
        audit: what the audit of its configuration found, stored with the result.
        invocation: the file whose end says to stop.
        parent_pid: process that hands out the runs, whose end is a reason to stop; 0 if it is not this one's parent.
        known: when the result that was there already had been finished; ``None`` if there was none.
        interval: how often to save the run.
        keep_weights: whether its best weights stay.
        gpus: to be dealt out over the processes of this machine; empty leaves it to ``device``.
    """

    spec: RunSpec
    results: Path
    device: str
    data_dir: Path | None
    provenance: Provenance
    audit: str
    invocation: Path
    parent_pid: int
    known: str | None
    interval: Interval
    keep_weights: bool
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What a worker sends back.

    Attributes:
        status: ``done``, ``failed``, ``diverged`` or ``paused``; ``claimed`` if another trains it, ``not started`` if
            it was asked to stop before, ``unstored`` if its result has no place.
        error: why, unless done.
        valid_ppl: best validation perplexity; ``None`` unless done.
        test_ppl: test perplexity; ``None`` unless done.
        seconds: how long it took.
        warnings: what the user should hear of.
        by_another: whether another caller trained it meanwhile.
    """

    run_id: str
    status: Status
    error: str | None
    valid_ppl: float | None
    test_ppl: float | None
    seconds: float
    warnings: tuple[str, ...] = ()
    by_another: bool = False


def checkpoint_folder(results: Path, run_id: str) -> Path:
    """Where a run is saved while it is not done."""
    return results / "checkpoints" / run_id


def weights_folder(results: Path, run_id: str) -> Path:
    """Where a finished run keeps its best weights, for :meth:`awd.AWDLSTM.from_pretrained`."""
    return results / "weights" / run_id


def recorded_by_another(results: Path, run_id: str, known: str | None) -> Summary | None:
    """The outcome of a run that another caller has settled since ``known``; ``None`` if nobody has."""
    row = Store(results).run(run_id)
    if row is None or row["finished_at"] == known or row["status"] == Status.PAUSED:
        return None
    numbers = (row["valid_ppl"], row["test_ppl"], row["seconds"])
    return Summary(run_id, Status(row["status"]), row["error"], *numbers, by_another=True)


def execute(job: Job) -> Summary:
    """Train one run, from its checkpoint if it has one, and store it, whatever comes of it."""
    run_id = job.spec.run_id
    try:
        lease = Leases(job.results).take(run_id)
        if lease is None:
            return Summary(run_id, Status.CLAIMED, "another caller trains it", None, None, 0.0)
        with lease:
            # it may have been settled between the plan and the lease
            return recorded_by_another(job.results, run_id, job.known) or _Run(job, lease).execute()
    except NotStartedError as error:
        return Summary(run_id, Status.NOT_STARTED, str(error), None, None, 0.0)
    except LeaseLostError as error:
        return Summary(run_id, Status.CLAIMED, str(error), None, None, 0.0)
    except StoreError as error:
        return Summary(run_id, Status.UNSTORED, str(error), None, None, 0.0)
    except Exception as error:  # never let out: it would end the call that carries all the runs
        return Summary(run_id, Status.UNSTORED, f"not stored: {_trace(error)}", None, None, 0.0)
    finally:
        if has_lost_its_parent(job.parent_pid):
            os._exit(1)  # nobody will hand it another run, or end it


def describe(job: Job) -> dict[str, Any]:
    """The columns that are known before a run has an outcome."""
    spec = job.spec
    named = {name: getattr(spec, name) for name in ("run_id", "suite", "profile", "dataset", "corpus_sha256")}
    named |= {name: getattr(spec, name) for name in ("variant", "label", "seed", "engine", "precision")}
    return {
        **named,
        **asdict(job.provenance),
        "device": job.device,
        "audit": job.audit,
        "config": spec.config_json,
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


@dataclass
class _Run:
    """One run while it is trained."""

    job: Job
    lease: Lease
    started: float = field(default_factory=time.perf_counter)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None

    def execute(self) -> Summary:
        job = self.job
        store, progress = Store(job.results), ProgressFolder(job.results)
        store.require_writable()
        store.remove_leftovers(job.spec.run_id)
        device = prepare_process(job.device, job.gpus, job.parent_pid)
        watch = Watch(progress, job.invocation, job.parent_pid, self.lease, job.spec)
        try:
            outcome = self._outcome(watch, device)
        finally:
            progress.remove(job.spec.run_id)
        row = self._row(outcome)
        with self.lease.guard():
            kept = store.write(row, [{"run_id": job.spec.run_id, **epoch} for epoch in self.epochs])
        if self.checkpoints and outcome["status"] in (Status.DONE, Status.DIVERGED):
            self.checkpoints.remove()
        error = outcome.get("error")
        error = error if kept else f"{error} (the earlier result is kept)"
        done = outcome if outcome["status"] == Status.DONE else {}
        numbers = (done.get("valid_ppl"), done.get("test_ppl"), row["seconds"])
        return Summary(job.spec.run_id, outcome["status"], error, *numbers, warnings=tuple(self.warnings))

    def _row(self, outcome: dict[str, Any]) -> dict[str, Any]:
        saved, seconds = self.checkpoints, sum(epoch["seconds"] for epoch in self.epochs)
        return {
            **describe(self.job),
            **asdict(on_this_machine(self.job.provenance)),
            **self.facts,
            **outcome,
            "seconds": time.perf_counter() - self.started + (saved.seconds if saved else 0.0),
            "resumes": saved.resumes if saved else 0,
            "epochs": len(self.epochs),
            "tokens_per_second": sum(epoch["tokens"] for epoch in self.epochs) / seconds if seconds else None,
        }

    def _outcome(self, watch: Watch, device: str) -> dict[str, Any]:
        """Train; the columns that say what came of it."""
        from awd.checkpoint import PausedError

        try:
            return self._train(watch, device)
        except LeaseLostError:
            raise
        except PausedError as error:
            best = min((epoch["valid_ppl"] for epoch in self.epochs), default=None)
            return {"status": Status.PAUSED, "error": str(error), "valid_ppl": best}
        except DivergedError as error:
            return {"status": Status.DIVERGED, "error": str(error)}
        except Exception as error:  # a run's failure is a result, and never stops the others
            return {"status": Status.FAILED, "error": describe_failure(error)}

    def _train(self, watch: Watch, device: str) -> dict[str, Any]:
        from awd.checkpoint import Checkpoints
        from awd.engine import make_engine
        from awd.trainer import Trainer

        job, spec = self.job, self.job.spec
        trainer = Trainer(
            spec.config,
            encode_corpus(spec, job.data_dir),
            spec.seed,
            device=device,
            engine=make_engine(spec.engine, spec.precision, device),
            on_epoch=lambda record: self.epochs.append(asdict(record)),
        )
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        self.facts = {"parameters": parameters, "device": _device_name(device)}
        folder = checkpoint_folder(job.results, spec.run_id)
        self.checkpoints = Checkpoints(folder, job.interval, stop=watch, warn=self.warnings.append)
        self.checkpoints.follow(trainer)
        self.epochs.extend(asdict(record) for record in trainer.epochs)
        watch.follow(trainer)
        result = trainer.run()
        if job.keep_weights:
            self._keep_weights(trainer, result.valid_ppl)
        return {
            "status": Status.DONE,
            "valid_ppl": result.valid_ppl,
            "test_ppl": result.test_ppl,
            "averaging_started": result.averaging_started,
        }

    def _keep_weights(self, trainer: Trainer, valid_ppl: float) -> None:
        from awd.pretrained import save_pretrained

        spec = self.job.spec
        folder = weights_folder(self.job.results, spec.run_id)
        about = {"run_id": spec.run_id, "variant": spec.variant, "seed": str(spec.seed), "valid_ppl": str(valid_ppl)}
        try:
            save_pretrained(folder, trainer.model, spec.config, trainer.words, **about)
        except OSError as error:  # the numbers are what counts
            self.warnings.append(f"{folder}: the weights could not be kept ({error.strerror or error})")


def encode_corpus(spec: RunSpec, data_dir: Path | None) -> Encoded:
    """The text of a run, which the process that planned it has fetched.

    Raises:
        CorpusError: it is not at hand, or another one now.
    """
    from awd.corpus import load_corpus
    from awd.corpus.text import encode
    from awd.errors import CorpusError

    text = load_corpus(spec.source, data_dir=data_dir, download=False)
    if text.sha256 != spec.corpus_sha256:
        raise CorpusError(f"{spec.source}: the corpus changed after the runs were planned; start again")
    return encode(text, spec.config.corpus)


def prepare_process(device: str, gpus: tuple[int, ...], parent_pid: int) -> str:
    """Settle what is a whole process's, as :class:`Job` says it; returns the device to train on."""
    _listen_to_signals(parent_pid)
    if gpus:
        from ablations.execution.gpus import hold_gpu

        hold_gpu(gpus)  # before torch looks for GPUs
        device = "cuda:0"
    import torch

    from awd.device import keep_freed_memory, use_exact_float32

    # one thread per run: two runs with one thread each do more than one run with two, and never fight over a core
    torch.set_num_threads(1)
    use_exact_float32()
    keep_freed_memory()
    return device


def _listen_to_signals(parent_pid: int) -> None:
    # where there are no semaphores joblib makes no processes, and this is the one that hands out the runs
    if parent_pid in (0, os.getpid()) or threading.current_thread() is not threading.main_thread():
        return  # a process that is somebody else's
    # Ctrl-C reaches the whole process group; the parent asks its workers to stop, who would only print tracebacks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: Watch.stop_this_process("SIGTERM"))


def describe_failure(error: Exception) -> str:
    """Why a run failed: one message where the cause is known, else the end of the trace."""
    return str(error) if isinstance(error, InputError) else _memory_advice(error) or _trace(error)


def _trace(error: Exception) -> str:
    trace = "".join(traceback.format_exception(error, limit=-4)).strip()
    return trace.encode(errors="replace").decode()  # parquet holds no lone surrogates, which file names may have


def _memory_advice(error: Exception) -> str | None:
    """What to do about a run that does not fit, on a GPU or not; ``None`` if that is not the trouble."""
    import torch

    text = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return f"out of memory on the GPU ({text}); try fewer --jobs on each GPU, or a smaller training.batch_size"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"out of memory ({text}); try fewer --jobs, or a smaller training.batch_size"
    return None


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
