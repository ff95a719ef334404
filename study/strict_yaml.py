"""YAML that others wrote: plain values, every key once, no aliases (a few lines of them can stand for gigabytes)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from allinsam_core.data.errors import DataError
from study.names import is_text, readable


def read(path: Path) -> Any:
    """The file's content. Raises DataError, naming file and line, for what is no such YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Any:
    """What a text says. where: what it is called in the error."""
    try:
        return yaml.load(readable(text), _Strict)  # noqa: S506 (a safe loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise DataError(f"{where}{line}: not valid YAML, {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{where}: not valid YAML, {str(error).splitlines()[0]}") from None


class _Strict(yaml.SafeLoader):
    """The safe loader without aliases, and refusing a key given twice, of which one would silently be lost."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"the alias *{event.anchor}; write out what it stands for"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if isinstance(node.value, str) and not is_text(node.value):
            problem = f"the text {ascii(node.value)[:60]}, which no UTF-8 file can hold"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)
