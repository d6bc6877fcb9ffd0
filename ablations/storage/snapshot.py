"""A results folder as it was at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import pandas as pd

from ablations.storage.store import Store


class Snapshot(Store):
    """A results folder of which every shard is opened once, however often it is asked for."""

    @cached_property
    def _runs(self) -> pd.DataFrame:
        return super().runs()

    @cached_property
    def _epochs(self) -> dict[str, pd.DataFrame]:
        """Epochs by run, of the runs that were asked for."""
        return {}

    def runs(self) -> pd.DataFrame:
        """As :meth:`Store.runs`, at the first call."""
        return self._runs.copy()

    def epochs(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """As :meth:`Store.epochs`, each run's at the first call that names it."""
        ids = list(dict.fromkeys(run_ids))
        nothing = super().epochs([])
        read = super().epochs(run_id for run_id in ids if run_id not in self._epochs)
        of_run = dict(iter(read.groupby("run_id")))
        for run_id in ids:
            self._epochs.setdefault(run_id, of_run.get(run_id, nothing))
        return pd.concat([nothing, *(self._epochs[run_id] for run_id in ids)], ignore_index=True)
