"""The API reference: every public function and class with its signature and first line, read from the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from study.pages.fragments import Fragments

ROOT = Path(__file__).parents[2]
PARTS = (  # in the order of the data flow, then the study
    "allinsam_core/data",
    "allinsam_core/annotation",
    "allinsam_core/learning",
    "allinsam_core/refinement",
    "allinsam_core/metrics",
    "study",
)


def fragments(results: Path) -> Fragments:
    """The table file `api`; no record is needed."""
    return Fragments(tables={"api": "\n".join(_part(part) for part in PARTS)})


def _part(part: str) -> str:
    files = (path for path in sorted((ROOT / part).rglob("*.py")) if not path.stem.startswith("_"))
    return f"## {part.replace('/', '.')}\n\n" + "\n".join(_module(path) for path in files)


def _module(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    lines = [f"### `{name}`", "", summary(tree), ""]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            lines.append(f"- `{signature(node)}`" + (f": {text}" if (text := summary(node)) else ""))
    return "\n".join(lines) + "\n"


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """`name(argument: type = default) -> type` of a function, `class Name` of a class."""
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def summary(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """The first paragraph of a docstring as one line of Markdown; what is in backticks stays code."""
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()).replace("``", "`")
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd backtick somewhere: plain text throughout
        parts = ["".join(parts)]
    return "`".join(re.sub(r"([\\*_\[\]<>|{}$~^#])", r"\\\1", s) if i % 2 == 0 else s for i, s in enumerate(parts))
