"""Options that take a folder, and the folder for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import typer

from awd.errors import InputError
from awd.paths import user_path


def folder_option(name: str, **given: Any) -> Any:
    """An option whose value is a folder, read by :func:`awd.paths.user_path`; ``given`` goes to ``typer.Option``."""
    # as text until the callback, since Path("") would already be the current folder
    return typer.Option(name, parser=str, metavar="<path>", callback=_folder, **given)


def _folder(param: typer.CallbackParam, value: str | Path | None) -> Path | None:
    return None if value is None else user_path(value, param.opts[0], folder=True)


def require_temporary_folder() -> None:
    """Say what is missing where no file can be written at all, before PyTorch ends in a traceback.

    Raises:
        InputError: there is no such folder.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise InputError("no folder for temporary files can be written; name one in the variable TMPDIR") from None
