"""Where the real corpora lie, if they are at hand: ``AWD_DATA_DIR``, or ``shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# read when tests are collected: tests of the environment variable unset it
REAL_DATA = Path(os.environ.get("AWD_DATA_DIR") or Path(__file__).resolve().parents[2] / "shared" / "data")


def real_data_folder() -> Path:
    """The folder; skips the test where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs the real corpora in {REAL_DATA}; AWD_DATA_DIR names another folder")
    return REAL_DATA
