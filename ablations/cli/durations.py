"""Times and intervals, as one types them."""

from __future__ import annotations

import re
import threading
from contextlib import suppress

from awd.checkpoint import Interval
from awd.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, option: str) -> float:
    """Seconds in ``90s``, ``25m``, ``1.5h`` or ``2d``.

    Raises:
        InputError: anything else, or nothing at all; the message names the option.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise InputError(f"{option} {text!r}: expected a time such as 90s, 25m, 1.5h or 2d")
    return seconds


def parse_interval(text: str) -> Interval:
    """``5`` is every five epochs, ``10m`` every ten minutes, ``auto`` leaves it open.

    Raises:
        InputError: anything else.
    """
    if text.strip() == "auto":
        return Interval()
    with suppress(ValueError):
        if (epochs := int(text)) > 0:
            return Interval(epochs=epochs)
    with suppress(InputError):
        return Interval(seconds=parse_duration(text, "--checkpoint-every"))
    raise InputError(f"--checkpoint-every {text!r}: expected epochs such as 5, a time such as 10m, or auto")
