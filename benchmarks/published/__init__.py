"""Ours held against the program that the paper's authors published: ``python -m benchmarks.published --help``."""

from benchmarks.published.command import app

__all__ = ["app"]
