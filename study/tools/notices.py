"""Warnings of a command as lines that a user reads, instead of Python's own form."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def shown() -> Iterator[None]:
    """Print every different warning given inside as one line to the standard error, also when an error ends it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                typer.echo(f"note: {message}", err=True)
