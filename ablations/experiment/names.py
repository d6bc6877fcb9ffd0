"""Names and labels that users give to what they compare."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator


def _require_name(text: str) -> str:
    # --variants and --profiles take lists with commas, and do not mind blanks around their entries
    if not text or text != text.strip() or "," in text or not text.isprintable():
        raise ValueError("should be a name: not empty, without commas, line breaks, or blanks at its ends")
    return text


def _require_folder_name(text: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]*", text):
        raise ValueError("should be a name of letters, digits, '_', '-' and '.': a folder of reports is called by it")
    return text


def _require_label(text: str) -> str:
    if not text.strip():
        raise ValueError("should be a text that can be seen")
    return text


Name = Annotated[str, AfterValidator(_require_name)]
FolderName = Annotated[str, AfterValidator(_require_folder_name)]
Label = Annotated[str, AfterValidator(_require_label)]
