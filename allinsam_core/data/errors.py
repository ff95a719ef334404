"""What goes wrong with data: every message names the file, what was found, what was expected and what to do."""

from __future__ import annotations


class PlainError(ValueError):
    """Says in one sentence what its reader can mend: a notebook shows the sentence and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]  # what IPython asks an exception for


class DataError(PlainError):
    """A file or a set of files is not what the study needs."""


class MissingData(DataError, FileNotFoundError):
    """A folder or a file of the study is not there."""
