"""What carries the runs, by name: processes of this machine, threads, this process itself, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Sequence

from ablations.execution.backends.backend import Backend
from awd.errors import ConfigError

__all__ = ["Backend", "make_backend"]


def make_backend(
    name: str, at_once: int, scheduler: str | None = None, gpus_per_run: int = 0, devices: Sequence[str] = ("cpu",)
) -> Backend:
    """The backend of a name.

    Args:
        name: ``loky``, ``threads``, ``sequential`` or ``dask``.
        at_once: runs at a time; on a cluster its workers decide.
        scheduler: address or file of a Dask scheduler.
        gpus_per_run: of the resource ``GPU`` that Dask workers declare.
        devices: to deal threads out over.

    Raises:
        ConfigError: options that contradict each other.
    """
    if name != "dask" and (scheduler or gpus_per_run):
        raise ConfigError(f"--scheduler and --gpus-per-run are for --backend dask, not {name}")
    if name == "dask":
        from ablations.execution.backends.dask import Dask

        if not scheduler:
            raise ConfigError("--backend dask: say where with --scheduler, tcp://host:8786 or a scheduler file")
        return Dask(scheduler, gpus_per_run)
    if name == "sequential":
        from ablations.execution.backends.sequential import Sequential

        return Sequential()
    if name == "threads":
        from ablations.execution.backends.threads import Threads

        return Threads(at_once, devices)
    from ablations.execution.backends.loky import Loky

    return Loky(at_once)
