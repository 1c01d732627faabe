"""Remove parameters from a parameter file: YAML, JSON, TOML, or constants in a Python file."""

import ast
from collections.abc import Collection, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from dvc.utils.serialize import LOADERS, MODIFIERS

from dvcproof.values import flatten, preserving

#: Suffixes of the files from which parameters can be removed.
FORMATS = (".yaml", ".yml", ".json", ".toml", ".py")


def names(path: Path) -> list[str]:
    """Return the names of all values in a parameter file, such as 'train.lr'. A list is one value."""
    if path.suffix == ".py":
        return [name for name, _, _ in _constants(path)]
    return [name for name in flatten(LOADERS[path.suffix](path)) if name]


def keep_only(path: Path, keep: Collection[str]) -> None:
    """Remove all values from a parameter file that are no part of a parameter in `keep`."""
    if all(any(covers(key, name) for key in keep) for name in names(path)):
        return
    if path.suffix == ".py":
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for name, node, only in _constants(path):
            if not any(covers(key, name) for key in keep):
                blank = [""] * ((node.end_lineno or node.lineno) - node.lineno)
                first = " " * node.col_offset + ("pass\n" if only else "\n")
                lines[node.lineno - 1 : node.end_lineno] = [first, *blank]
        path.write_text("".join(lines), encoding="utf-8")
    elif path.suffix in (".json", ".toml"):
        with MODIFIERS[path.suffix](path) as document:
            _prune(document, "", keep)
    else:  # keep the quotes: 'yes' in quotes is text, without them some readers of YAML take it for a truth value
        yaml = preserving()
        document = yaml.load(path)
        _prune(document, "", keep)
        yaml.dump(document, path)


def covers(key: str, name: str) -> bool:
    """Return whether a declared key and the name of a value are equal, or one is a part of the other."""
    return key == name or name.startswith((f"{key}.", f"{key}[")) or key.startswith((f"{name}.", f"{name}["))


def _prune(document: Any, prefix: str, keep: Collection[str]) -> None:
    for key, value in list(document.items()):
        name = f"{prefix}{key}"
        inner = isinstance(value, MutableMapping) and bool(value)
        if inner:
            _prune(value, f"{name}.", keep)
        if (inner and not value) or not any(covers(one, name) for one in keep):
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
