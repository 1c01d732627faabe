"""Write the edits that findings ask for as a difference of each dvc.yaml; what cannot be edited truthfully is said."""

import difflib
import io
import os
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

from dvcproof.findings import Report
from dvcproof.project import Project, Stage
from dvcproof.values import preserving

#: The ways in which people indent lists: (mapping, sequence, offset).
INDENTS = ((2, 2, 0), (2, 4, 2), (4, 4, 0), (4, 4, 2), (4, 6, 4))


def patched(project: Project, report: Report) -> str:
    """Return the difference that makes of each dvc.yaml what the findings ask for, for `git apply`.

    Lines before it that begin with '#' say what has to be edited by hand. It is empty if there is nothing to edit.
    """
    notes, parts = [], []
    for file in dict.fromkeys(stage.file for stage in project.stages):
        editor = _Editor(project, report, file)
        parts.append(editor.difference())
        notes += editor.notes
    return "".join(f"# {note}\n" for note in dict.fromkeys(notes)) + "".join(parts)


class _Editor:
    """Edits one dvc.yaml, named by its path below the project's root."""

    def __init__(self, project: Project, report: Report, file: str) -> None:
        self.project, self.file, self.path = project, file, project.root / file
        self.stages = [stage for stage in project.stages if stage.file == file]
        self.changes: dict[str, list[str]] = {}
        for finding in report.findings:
            if finding.file == file and finding.change:
                self.changes.setdefault(finding.stage, []).extend(finding.change.splitlines())
        self.notes: list[str] = []

    def difference(self) -> str:
        """Return the edits as a unified difference."""
        if not self.changes:
            return ""
        with self.path.open(encoding="utf-8", newline="") as stream:
            text = stream.read()
        yaml = _writer(text.replace("\r\n", "\n"))
        document = yaml.load(text)
        groups: dict[str, list[Stage]] = {}
        for stage in self.stages:
            groups.setdefault(stage.name.partition("@")[0], []).append(stage)
        for base, group in groups.items():
            if any(stage.address in self.changes for stage in group):
                self._edit(document["stages"][base], base, group)
        name = os.path.relpath(self.path, self.project.top or self.project.root)
        new = _dumped(yaml, document)
        if "\r\n" in text:
            new = new.replace("\n", "\r\n")
        old = text.splitlines(keepends=True)
        lines = difflib.unified_diff(old, new.splitlines(keepends=True), f"a/{name}", f"b/{name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def _edit(self, node: Any, base: str, group: list[Stage]) -> None:
        """Edit one definition: what all of its stages need."""
        changes = [dict.fromkeys(self.changes.get(stage.address, ())) for stage in group]
        common = [change for change in changes[0] if all(change in each for each in changes)]
        for stage, change in ((stage, one) for stage, each in zip(group, changes, strict=True) for one in each):
            if change not in common:
                why = f"not all stages of '{base}' need it; edit the template by hand"
                self.notes.append(f"{self.file}: {stage.address}: {change}: {why}")
        node = node.get("do", node)
        below = _take_tail(node)
        for change in common:
            section, sign, value = change.split(" ", 2)
            inner = _take_tail(node.get(section))
            if sign == "+" and section not in node:
                node[section] = CommentedSeq()
            edit = {"params+": _add_param, "params-": _remove_param}.get(section + sign, _edit_items)
            if section not in node or not edit(node, section, value, sign == "+"):
                why = "it is written in another way; edit it by hand"
                self.notes.append(f"{self.file}: {group[0].address}: {change}: {why}")
            _give_tail(node.get(section, node), inner)
        _give_tail(node, below)


def _edit_items(node: Any, section: str, value: str, add: bool) -> bool:
    """Add a path to deps or outs, or remove it. Return whether that could be done."""
    found, path = node[section], value.removesuffix(":tracked") if section == "outs" else value
    index = next((index for index, one in enumerate(found) if _name(one) == path), None)
    if add and index is None:
        found.append(CommentedMap({path: CommentedMap({"cache": False})}) if path != value else path)
    elif not add and index is not None:
        _remove(node, section, index)
    return add or index is not None


def _add_param(node: Any, section: str, value: str, _add: bool) -> bool:
    """Add a parameter 'FILE:NAME', or a whole file. Return that it could be done."""
    found, (file, _, key) = node[section], value.partition(":")
    mappings = [one for one in found if isinstance(one, dict) and file in one]
    if not key:
        found.append(CommentedMap({file: None}))
    elif not mappings:
        found.append(key if file == "params.yaml" else CommentedMap({file: CommentedSeq([key])}))
    elif mappings[0][file] is not None and key not in mappings[0][file]:  # else the whole file is declared
        mappings[0][file].append(key)
    return True


def _remove_param(node: Any, section: str, value: str, _add: bool) -> bool:
    """Remove a parameter 'FILE:NAME'. Return whether that could be done."""
    file, _, key = value.partition(":")
    for index, one in enumerate(node[section]):
        if one == key and file == "params.yaml":
            _remove(node, section, index)
            return True
        if isinstance(one, dict) and isinstance(one.get(file), list) and key in one[file]:
            one[file].remove(key)
            if not one[file] and len(one) > 1:
                del one[file]
            elif not one[file]:
                _remove(node, section, index)
            return True
    return False


def _remove(node: Any, section: str, index: int) -> None:
    """Remove an entry; comments and empty lines below it stay."""
    found = node[section]
    below = _take(found, index)
    del found[index]
    if not found:
        del node[section]
    elif below and index:
        _give(found, index - 1, below)


def _take_tail(node: Any) -> str:
    """Take away the comments and empty lines below a mapping or list, and return them; it is where its last part is."""
    place = _last(node)
    return _take(*place) if place else ""


def _give_tail(node: Any, below: str) -> None:
    """Put comments and empty lines below a mapping or list."""
    place = _last(node)
    if below and place:
        _give(*place, below)


def _last(node: Any) -> tuple[Any, Any] | None:
    """Return the innermost mapping or list that ends where a node ends, and its last key."""
    if not isinstance(node, CommentedMap | CommentedSeq) or not node or node.fa.flow_style():
        return None
    key = next(reversed(node)) if isinstance(node, CommentedMap) else len(node) - 1
    return _last(node[key]) or (node, key)


def _take(found: Any, key: Any) -> str:
    """Take away the lines below an entry, and return them; a comment beside it stays."""
    slot = 2 if isinstance(found, CommentedMap) else 0
    tokens = found.ca.items.get(key)
    token = tokens[slot] if tokens else None
    if token is None:
        return ""
    beside, _, below = token.value.partition("\n")
    if beside:
        token.value = f"{beside}\n"
    else:
        tokens[slot] = None
    return str(below)


def _give(found: Any, key: Any, below: str) -> None:
    slot = 2 if isinstance(found, CommentedMap) else 0
    tokens = found.ca.items.setdefault(key, [None, None, None, None])
    if tokens[slot]:
        tokens[slot].value = tokens[slot].value.rstrip("\n") + "\n" + below
    else:
        tokens[slot] = CommentToken(f"\n{below}", CommentMark(0), None)


def _name(entry: Any) -> Any:
    """Return the path of an entry, which may be a mapping from the path to options."""
    return next(iter(entry), None) if isinstance(entry, dict) else entry


def _writer(text: str) -> YAML:
    """Return the writer that changes the least of a text."""

    def writer(mapping: int, sequence: int, offset: int) -> YAML:
        yaml = preserving()
        yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
        return yaml

    changed: dict[tuple[int, int, int], int] = {}
    for indent in INDENTS:
        yaml = writer(*indent)
        dumped = _dumped(yaml, yaml.load(text)).splitlines(keepends=True)
        changed[indent] = sum(line[0] in "+-" for line in difflib.ndiff(text.splitlines(keepends=True), dumped))
        if not changed[indent]:
            break
    return writer(*min(changed, key=changed.__getitem__))


def _dumped(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
