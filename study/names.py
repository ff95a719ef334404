"""Names of files as text, and text as names of files, where the system's encoding has no letter for a byte.

Python keeps such a byte as a lone surrogate, which opens the file again but can be written into no UTF-8 file: of
UTF-8 names in a C locale without UTF-8 mode, and of names that are no UTF-8 anywhere.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

AS_GIVEN = "allinsam.as_given"


def readable(name: str | Path) -> str:
    """A name as text: bytes that were kept are read as UTF-8, those that are none become \\xNN."""
    text = str(name)
    if is_text(text):
        return text
    given = text.encode("utf-8", AS_GIVEN)
    return given.decode("utf-8", "backslashreplace")


def fitting(text: str | Path) -> str:
    """A text as a name that the system takes, in UTF-8 where its own encoding cannot; the inverse of `readable`."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(str(text).encode("utf-8", AS_GIVEN))
    return str(text)


def is_text(text: str) -> bool:
    """Whether a UTF-8 file can hold it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def speak() -> None:
    """Let what is printed come out as it was given: paths byte by byte, all else in UTF-8 where the locale is ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else stream.encoding, errors=AS_GIVEN)


def _as_given(error: UnicodeError) -> tuple[str | bytes, int]:
    """Kept bytes as they are; what an encoding has no letter for as \\uNNNN."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error(AS_GIVEN, _as_given)
