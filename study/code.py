"""Which code a run is made of: its own modules and all that they import of these packages, and one hash of them."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

PACKAGES = ("allinsam_core", "study", "benchmarks")
ROOT = Path(__file__).resolve().parents[1]
Read = Callable[[str], bytes | None]
"""The content of a file by its path from the root, None where there is none."""


def here(path: str) -> bytes | None:
    """A file of the code that runs."""
    file = ROOT / path
    return file.read_bytes() if file.is_file() else None


def code_hash(modules: Iterable[str], read: Read = here) -> str:
    """sha256 over the sources of these modules and of all that they import; other modules do not matter."""
    digest = hashlib.sha256()
    for path, source in sorted(sources(modules, read).items()):
        digest.update(f"{path} {hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()


def sources(modules: Iterable[str], read: Read = here) -> dict[str, bytes]:
    """Path → source of the modules and of what they import, in functions too; imports for type checkers left out.

    Raises ValueError where one of `modules` does not exist.
    """
    found: dict[str, bytes] = {}
    waiting = list(modules)
    if absent := [name for name in waiting if _file(name, read) is None]:
        raise ValueError(f"{absent[0]}: no such module, expected one of {' or '.join(PACKAGES)}")
    while waiting:
        name = waiting.pop()
        parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        for module in (name, *parents):
            file = _file(module, read)
            if file is not None and file[0] not in found:
                found[file[0]] = file[1]
                waiting += _imports(file[1])
    return found


def _file(module: str, read: Read) -> tuple[str, bytes] | None:
    """Path and source of a module or package; None where it is none of ours (or a name within a module)."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    base = module.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if (source := read(path)) is not None:
            return path, source
    return None


def _imports(source: bytes) -> list[str]:
    """What a module imports, absolute, each name of a `from` import as a module too (it may be one)."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        checked_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        waiting += node.orelse if isinstance(node, ast.If) and checked_only else ast.iter_child_nodes(node)
    return found


def notebook_hash() -> str | None:
    """sha256 of the cells that the running notebook has executed so far, cells of parameters left out; None outside."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return None
    cells = [cell for cell in shell.user_ns.get("In", []) if cell.strip() and not _assigns_values(cell)]
    return hashlib.sha256("\n\n".join(cells).encode()).hexdigest()


def _assigns_values(cell: str) -> bool:
    """Whether a cell does nothing but give names to values written out."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return False
    return all(isinstance(each, ast.Assign) and not _computes(each.value) for each in statements)


def _computes(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return True
    return False
