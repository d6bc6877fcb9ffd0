"""How far each run in training is: one small file per run in the results folder, which any process may read."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far one run is.

    Attributes:
        run_id: which run.
        pid: the process that trains it, on ``host``.
        epochs: the most epochs it can take.
        phase: ``train``, ``finetune`` or ``test``.
        epoch: epochs done, in both phases together.
        share: how much of the current epoch's text is done, 0 to 1.
        valid_ppl: latest validation perplexity; ``None`` before the first.
        seconds: training time so far, with that before any pause.
        tokens: tokens trained on in that time.
    """

    run_id: str
    pid: int
    host: str
    epochs: int
    phase: str = "train"
    epoch: int = 0
    share: float = 0.0
    valid_ppl: float | None = None
    seconds: float = 0.0
    tokens: int = 0

    @property
    def done(self) -> float:
        """Epochs done, with the part of the current one."""
        return min(self.epoch + self.share, self.epochs)

    @property
    def seconds_left(self) -> float | None:
        """Estimate of what remains, from the mean epoch so far."""
        return self.seconds / self.done * (self.epochs - self.done) if self.done else None

    @property
    def tokens_per_second(self) -> float | None:
        """Training speed so far; ``None`` before the first step."""
        return self.tokens / self.seconds if self.seconds else None


class ProgressFolder:
    """``results/progress``: one file per run in training, replaced as it goes on and removed at the end."""

    def __init__(self, results: Path) -> None:
        self.folder = results / "progress"

    def update(self, progress: Progress) -> None:
        """Say how far a run is. A full disk is no error here: only results must be written."""
        path = self._path(progress.run_id)
        # no fsync, unlike results: nobody needs this file after a crash
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self, run_id: str) -> None:
        """The run is no longer running; what a process left that was killed while it wrote goes, too."""
        for path in (self._path(run_id), *self.folder.glob(f".{run_id}.json.*.tmp")):
            with suppress(OSError):  # on Windows a file that is being read stays
                path.unlink(missing_ok=True)

    def read(self, run_id: str) -> Progress | None:
        """How far a run is; ``None`` if it is not running."""
        try:
            return Progress(**json.loads(self._path(run_id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"
