"""Write the edits that findings propose as a unified diff of each dvc.yaml, with notes on edits to make by hand."""

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

#: Usual indentations of YAML, for ruamel: (mapping, sequence, offset).
INDENTS = ((2, 2, 0), (2, 4, 2), (4, 4, 0), (4, 4, 2), (4, 6, 4))


def patched(project: Project, report: Report) -> str:
    """Return a unified diff for `git apply` that makes the edits which the findings propose in each dvc.yaml.

    Lines before the diff that begin with '#' name edits to make by hand. The text is empty if there is nothing to edit.
    """
    notes, parts = [], []
    for file in dict.fromkeys(stage.file for stage in project.stages):
        editor = _Editor(project, report, file)
        parts.append(editor.difference())
        notes += editor.notes
    return "".join(f"# {note}\n" for note in dict.fromkeys(notes)) + "".join(parts)


class _Editor:
    """Edit one dvc.yaml. `file` is its path relative to the project's root."""

    def __init__(self, project: Project, report: Report, file: str) -> None:
        self.project, self.file, self.path = project, file, project.root / file
        self.stages = [stage for stage in project.stages if stage.file == file]
        self.changes: dict[str, list[str]] = {}
        for finding in report.findings:
            if finding.file == file and finding.change:
                self.changes.setdefault(finding.stage, []).extend(finding.change.splitlines())
        self.notes: list[str] = []

    def difference(self) -> str:
        """Return the edits as a unified diff."""
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
        """Make the edits that all stages of one definition need. Add a note for each other edit."""
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
    """Add a path to deps or outs, or remove the path. Return whether that was possible."""
    found, path = node[section], value.removesuffix(":tracked") if section == "outs" else value
    index = next((index for index, one in enumerate(found) if _name(one) == path), None)
    if add and index is None:
        found.append(CommentedMap({path: CommentedMap({"cache": False})}) if path != value else path)
    elif not add and index is not None:
        _remove(node, section, index)
    return add or index is not None


def _add_param(node: Any, section: str, value: str, _add: bool) -> bool:
    """Add a parameter 'FILE:NAME', or a whole file. Return True."""
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
    """Remove a parameter 'FILE:NAME'. Return whether that was possible."""
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
    """Remove an entry. Keep the comments and empty lines below it."""
    found = node[section]
    below = _take(found, index)
    del found[index]
    if not found:
        del node[section]
    elif below and index:
        _give(found, index - 1, below)


def _take_tail(node: Any) -> str:
    """Cut the comments and empty lines below a mapping or list, and return them. They hang on its last entry."""
    place = _last(node)
    return _take(*place) if place else ""


def _give_tail(node: Any, below: str) -> None:
    """Put the comments and empty lines `below` after a mapping or list."""
    place = _last(node)
    if below and place:
        _give(*place, below)


def _last(node: Any) -> tuple[Any, Any] | None:
    """Return the innermost mapping or list at the end of a node, and its last key; None for flow style or a scalar."""
    if not isinstance(node, CommentedMap | CommentedSeq) or not node or node.fa.flow_style():
        return None
    key = next(reversed(node)) if isinstance(node, CommentedMap) else len(node) - 1
    return _last(node[key]) or (node, key)


def _take(found: Any, key: Any) -> str:
    """Cut the lines below an entry, and return them. Keep a comment on the entry's own line."""
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
    """Return the path of an entry of deps or outs: a path, or a mapping from a path to options."""
    return next(iter(entry), None) if isinstance(entry, dict) else entry


def _writer(text: str) -> YAML:
    """Return the YAML writer whose indentation changes the fewest lines of a text."""

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
