"""Remove parameters from a parameter file: YAML, JSON, TOML, or constants in a Python file."""

import ast
import io
import json
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from dvcproof.values import preserving

#: Suffixes of the files from which parameters can be removed.
FORMATS = (".yaml", ".yml", ".json", ".toml", ".py")


def names(path: Path) -> list[str]:
    """Return the names of all values in a parameter file, such as 'train.lr'. A list is one value."""
    if path.suffix == ".py":
        return [name for name, _, _ in _constants(path)]
    return list(_leaves(_load(path), ""))


def without(path: Path, drop: Callable[[str], bool]) -> str:
    """Return the text of a parameter file without the parameters for whose names `drop` is true."""
    if path.suffix == ".py":
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for name, node, only in _constants(path):
            if drop(name):
                blank = [""] * ((node.end_lineno or node.lineno) - node.lineno)
                first = " " * node.col_offset + ("pass\n" if only else "\n")
                lines[node.lineno - 1 : node.end_lineno] = [first, *blank]
        return "".join(lines)
    document = _load(path)
    _prune(document, "", drop)
    if path.suffix == ".json":
        return json.dumps(document, indent=2)
    if path.suffix == ".toml":
        import tomlkit

        return tomlkit.dumps(document)
    text = io.StringIO()
    preserving().dump(document, text)
    return text.getvalue()


def covers(key: str, name: str) -> bool:
    """Return whether a declared key and the name of a value are equal, or one is a part of the other."""
    return key == name or name.startswith((f"{key}.", f"{key}[")) or key.startswith((f"{name}.", f"{name}["))


def _load(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".toml":
        import tomlkit

        return tomlkit.parse(text)
    return preserving().load(text) or {}


def _leaves(document: Any, prefix: str) -> Iterator[str]:
    if isinstance(document, MutableMapping) and document:
        for key, value in document.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix


def _prune(document: Any, prefix: str, drop: Callable[[str], bool]) -> None:
    for key in list(document) if isinstance(document, MutableMapping) else ():
        name = f"{prefix}.{key}" if prefix else str(key)
        value = document[key]
        if isinstance(value, MutableMapping) and value:
            _prune(value, name, drop)
            if not value:
                del document[key]
        elif drop(name):
            del document[key]


def _constants(path: Path) -> Iterator[tuple[str, ast.stmt, bool]]:
    """Yield each constant that a Python file assigns: the name, the statement, and whether it is in a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{name}", part, True) for part in node.body for name in _constant(part))
        else:
            yield from ((name, node, False) for name in _constant(node))


def _constant(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return
        if isinstance(target, ast.Name):
            yield target.id
