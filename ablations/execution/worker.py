"""One run in one process: take its lease, train it or go on with it, store it; what goes wrong is a recorded status."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.execution.job import Job, Summary
from ablations.execution.watch import NotStartedError, Watch, has_lost_its_parent
from ablations.experiment.plan import RunSpec
from ablations.storage.leases import Lease, LeaseLostError, Leases
from ablations.storage.progress import ProgressFolder
from ablations.storage.provenance import on_this_machine
from ablations.storage.status import Status
from ablations.storage.store import Store, StoreError
from awd.errors import DivergedError, InputError
from awd.messages import number_text

if TYPE_CHECKING:
    from awd.checkpoint import Checkpoints
    from awd.corpus.text import Encoded
    from awd.trainer import Trainer


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
    run_id, results = job.spec.run_id, job.context.results
    try:
        lease = Leases(results).take(run_id)
        if lease is None:
            return Summary(run_id, Status.CLAIMED, "another caller trains it")
        with lease:
            # it may have been settled between the plan and the lease
            return recorded_by_another(results, run_id, job.known) or _Run(job, lease).execute()
    except NotStartedError as error:
        return Summary(run_id, Status.NOT_STARTED, str(error))
    except LeaseLostError as error:
        return Summary(run_id, Status.CLAIMED, str(error))
    except StoreError as error:
        return Summary(run_id, Status.UNSTORED, str(error))
    except Exception as error:  # never let out: it would end the call that carries all the runs
        return Summary(run_id, Status.UNSTORED, f"not stored: {_trace(error)}")
    finally:
        if has_lost_its_parent(job.context.parent_pid):
            os._exit(1)  # nobody will hand it another run, or end it


def describe(job: Job) -> dict[str, Any]:
    """The columns that are known before a run has an outcome."""
    spec = job.spec
    named = {name: getattr(spec, name) for name in ("run_id", "suite", "profile", "dataset", "corpus_sha256")}
    named |= {name: getattr(spec, name) for name in ("variant", "label", "seed", "engine", "precision")}
    return {
        **named,
        **asdict(job.context.provenance),
        "device": job.options.device,
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
        job, context = self.job, self.job.context
        store, progress = Store(context.results), ProgressFolder(context.results)
        store.require_writable()
        store.remove_leftovers(job.spec.run_id)
        device = prepare_process(job.options.device, job.options.gpus, context.parent_pid)
        watch = Watch(progress, context.invocation, context.parent_pid, self.lease, job.spec)
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
            **asdict(on_this_machine(self.job.context.provenance)),
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

        spec, options = self.job.spec, self.job.options
        corpus = encode_corpus(spec, options.data_dir)
        trainer = Trainer(
            spec.config,
            corpus,
            spec.seed,
            device=device,
            engine=make_engine(spec.engine, spec.precision, device),
            on_epoch=lambda record: self.epochs.append(asdict(record)),
        )
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        unknown = {f"{split}_unknown": share for split, share in corpus.unknown.items()}
        self.facts = {"parameters": parameters, "device": _device_name(device), **unknown}
        folder = checkpoint_folder(self.job.context.results, spec.run_id)
        self.checkpoints = Checkpoints(folder, options.interval, stop=watch, warn=self.warnings.append)
        self.checkpoints.follow(trainer)
        self.epochs.extend(asdict(record) for record in trainer.epochs)
        watch.follow(trainer)
        with self._followed(trainer):
            result = trainer.run()
        if (last := result.epochs[-1].valid_ppl) > len(corpus.words):
            guessing = f"guessing among the {len(corpus.words):,} words of the vocabulary"
            error = f"validation perplexity {number_text(last)} after the last epoch, worse than {guessing}"
            return {"status": Status.DIVERGED, "error": error}
        if options.keep_weights:
            self._keep_weights(trainer, result.valid_ppl)
        return {
            "status": Status.DONE,
            "valid_ppl": result.valid_ppl,
            "test_ppl": result.test_ppl,
            "averaging_started": result.averaging_started,
        }

    def _followed(self, trainer: Trainer) -> AbstractContextManager[None]:
        if not self.job.options.tensorboard:
            return nullcontext()
        from ablations.execution.tensorboard import tensorboard_folder, written_for_tensorboard

        return written_for_tensorboard(trainer, tensorboard_folder(self.job.context.results, self.job.spec))

    def _keep_weights(self, trainer: Trainer, valid_ppl: float) -> None:
        from awd.pretrained import save_pretrained

        spec = self.job.spec
        folder = weights_folder(self.job.context.results, spec.run_id)
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
    """Settle what is a whole process's, as :class:`RunOptions` says it; returns the device to train on."""
    _listen_to_signals(parent_pid)
    if gpus:
        from ablations.execution.gpus import hold_gpu

        hold_gpu(gpus)  # before torch looks for GPUs
        device = "cuda:0"
    compute_on_one_thread()
    return device


def compute_on_one_thread() -> None:
    """Settle how this process computes, whatever it trains."""
    import torch

    from awd.device import keep_freed_memory, use_exact_float32

    # two runs of one thread each do more than one of two, and never fight over a core
    torch.set_num_threads(1)
    use_exact_float32()
    keep_freed_memory()


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


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was asked for that there is not, on a GPU or not."""
    import torch

    # torch's allocator on a CPU has no class of its own for it
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _memory_advice(error: Exception) -> str | None:
    """What to do about a run that does not fit; ``None`` if that is not the trouble."""
    import torch

    if not is_out_of_memory(error):
        return None
    text = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return f"out of memory on the GPU ({text}); try fewer --jobs on each GPU, or a smaller training.batch_size"
    return f"out of memory ({text}); try fewer --jobs, or a smaller training.batch_size"


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
