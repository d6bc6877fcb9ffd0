"""What can be said of a run in one word."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How far a run is. The first four are stored, as these words."""

    DONE = "done"
    FAILED = "failed"
    DIVERGED = "diverged"
    PAUSED = "paused"

    # seen in the results folder
    RUNNING = "running"
    MISSING = "missing"
    DAMAGED = "damaged"  # its result cannot be read

    # said by a worker that has nothing to store
    CLAIMED = "claimed"  # by another caller, who trains it
    NOT_STARTED = "not started"  # since it was asked to stop
    UNSTORED = "unstored"  # there is no place for its result


UNFINISHED = (Status.FAILED, Status.DIVERGED, Status.PAUSED, Status.MISSING)  # what a report counts beside the done
