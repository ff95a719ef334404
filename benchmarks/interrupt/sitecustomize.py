"""Ends a Python process at a step of its own: what `benchmarks/kills.py` interrupts programs with.

Python runs this when it starts with this folder on PYTHONPATH. INTERRUPT is a JSON object: at, "rename:PATTERN" (a file
whose name matches is about to get its place), "open:PATTERN" (… to be opened for writing) or "call:MODULE:FUNCTION";
number, at which such event; how, "KILL" or "TERM"; mark, a file that is made just before, and that makes all later
events pass. Child processes inherit it, so a step inside a notebook's kernel is reached too.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class Interrupt:
    """Counts the events that it waits for, and ends the process at the last of them."""

    def __init__(self, at: str, number: int, how: str, mark: str) -> None:
        self.kind, _, self.what = at.partition(":")
        self.left, self.how, self.mark = number, how, mark

    def watch(self) -> None:
        """Begin to wait."""
        if self.kind == "call":
            wrapped = _Wrapped(*self.what.rpartition(":")[::2], self)
            if wrapped.module in sys.modules:
                wrapped.wrap(sys.modules[wrapped.module])
            else:
                sys.meta_path.insert(0, wrapped)
        else:
            sys.addaudithook(self._on_event)

    def _on_event(self, event: str, given: tuple[Any, ...]) -> None:
        if self.kind == "rename" and event == "os.rename":
            path = given[1]
        elif self.kind == "open" and event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR):
            path = given[0]
        else:
            return
        if isinstance(path, str | os.PathLike) and fnmatch.fnmatch(os.path.basename(path), self.what):
            self.happened()

    def happened(self) -> None:
        """One event."""
        self.left -= 1
        if self.left != 0:
            return
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), getattr(signal, f"SIG{self.how}"))


class _Wrapped(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module, and has a call of its function counted."""

    def __init__(self, module: str, function: str, interrupt: Interrupt) -> None:
        self.module, self.function, self.interrupt = module, function, interrupt

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None and found.loader is not None:
            self.loader, found.loader = found.loader, self
        return found

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.wrap(module)

    def wrap(self, module: ModuleType) -> None:
        """Put a function that counts in the place of the module's own."""
        *owners, name = self.function.split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        function = getattr(owner, name)

        @functools.wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            self.interrupt.happened()
            return function(*given, **named)

        setattr(owner, name, counted)


if "INTERRUPT" in os.environ:
    Interrupt(**json.loads(os.environ["INTERRUPT"])).watch()
