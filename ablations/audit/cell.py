"""What the audit found: one cell a mechanism, made of single findings."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ERRORS = 5  # standard errors that a share may lie away from its probability


@dataclass(frozen=True)
class Finding:
    """One thing measured.

    Attributes:
        what: it is.
        measured: as text; likewise ``expected``, which follows from the configuration alone.
        ok: whether they agree.
    """

    what: str
    measured: str
    expected: str
    ok: bool

    def __str__(self) -> str:
        return f"{self.what}: measured {self.measured}, expected {self.expected}"


@dataclass(frozen=True)
class Cell:
    """Everything found about one mechanism; the first finding is its headline."""

    mechanism: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the configuration."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that contradict it."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def headline(self) -> Finding:
        """What a table shows: the first contradiction, else the first finding."""
        return (*self.failures, *self.findings)[0]

    @property
    def measured(self) -> str:
        """What the headline measured."""
        return self.headline.measured

    @property
    def expected(self) -> str:
        """What the headline expected."""
        return self.headline.expected


def tolerance(probability: float, count: int) -> float:
    """How far a share of ``count`` draws may lie from its probability: five standard errors, and five draws, since
    a rare event is not normally distributed."""
    return _ERRORS * math.sqrt(probability * (1 - probability) / count) + _ERRORS / count


def share(what: str, hits: float, count: int, probability: float) -> Finding:
    """A share of ``count`` independent draws against its probability."""
    if not count:
        return Finding(what, "none to see", f"{probability:g}", ok=True)
    allowed = tolerance(probability, count)
    measured = hits / count
    margin = f"±{allowed:.1g}".replace("0.", ".") if probability else ""
    text = f"{measured:.3g}" if measured in (0, 1) else f"{measured:.3f}"
    return Finding(what, text, f"{probability:g}{margin}", abs(measured - probability) <= allowed)


def yes_or_no(what: str, truth: bool, yes: str, no: str) -> Finding:
    """A property that must hold."""
    return Finding(what, yes if truth else no, yes, truth)


def close(what: str, measured: float, expected: float, allowed: float, digits: int = 4) -> Finding:
    """A number that must be within ``allowed`` of another."""
    # written so that NaN is a contradiction
    return Finding(what, f"{measured:.{digits}g}", f"{expected:.{digits}g}", abs(measured - expected) <= allowed)
