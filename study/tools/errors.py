"""Errors at the door of a command: what was found, what is expected, what to do, and exit status 2. No traceback.

`typer.Typer(cls=PlainGroup)` gives it to a command with subcommands, `app.command(cls=PlainCommand)` to one without.
With --debug, anywhere in the line, the traceback is shown.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from study import names

FLAG = "--debug"
STATUS = 2
HINT = f"{FLAG} shows where an error arose."


class PlainGroup(TyperGroup):
    """For `typer.Typer(cls=…)`: all subcommands' errors are told in a sentence."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **{**options, "epilog": options.get("epilog") or HINT})

    def main(self, args: Sequence[str] | None = None, *given: Any, **options: Any) -> Any:
        return _guarded(super().main, args, given, options)


class PlainCommand(TyperCommand):
    """For `app.command(cls=…)` of a program that is one command."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **{**options, "epilog": options.get("epilog") or HINT})

    def main(self, args: Sequence[str] | None = None, *given: Any, **options: Any) -> Any:
        return _guarded(super().main, args, given, options)


def _guarded(main: Callable[..., Any], args: Sequence[str] | None, given: Any, options: Any) -> Any:
    names.speak()
    words = list(sys.argv[1:] if args is None else args)
    if FLAG in (words[: words.index("--")] if "--" in words else words):
        return main([word for word in words if word != FLAG], *given, **options)
    try:
        return main(words, *given, **options)
    except Exception as error:
        stop(sentence(error))


def stop(message: str) -> NoReturn:
    """Say what is wrong, on the error stream, and end."""
    typer.echo(f"error: {message}", err=True)
    sys.exit(STATUS)


def sentence(error: BaseException) -> str:
    """What a person at a command reads of an error."""
    from pydantic import ValidationError  # late, like all that a command's --help does not need

    from allinsam_core.data.errors import PlainError
    from allinsam_core.settings import sentence_of

    if isinstance(error, PlainError):
        return str(error)
    if isinstance(error, ValidationError):
        return sentence_of(error)
    if isinstance(error, MemoryError):
        return "not enough memory; try smaller images, a smaller batch or window, or another device"
    if isinstance(error, OSError) and error.strerror:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free space, then run the same command again: what is finished is kept" if full else "check that path"
        return f"{error.filename or 'writing'}: {error.strerror.lower()}; {hint}"
    if hasattr(error, "ename") and hasattr(error, "evalue"):  # of a notebook's cell
        return f"{error.evalue}" if error.ename in _ours() else f"{error.ename}: {error.evalue}"
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError | OSError | ImportError | FloatingPointError) and first:
        return first
    return (
        f"{type(error).__name__}: {first}; this is a fault of the program: run it again with {FLAG} and report what "
        "it shows"
    )


def _ours() -> set[str]:
    """The names of all plain errors that are known here."""
    from allinsam_core.data.errors import PlainError

    found: set[str] = set()
    waiting: list[type] = [PlainError]
    while waiting:
        kind = waiting.pop()
        found.add(kind.__name__)
        waiting += kind.__subclasses__()
    return found | {"ValueError"}
