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
        for base, group in self._groups().items():
            self._edit(document["stages"][base], base, group)
        name = os.path.relpath(self.path, self.project.top or self.project.root)
        new = _dumped(yaml, document)
        if "\r\n" in text:
            new = new.replace("\n", "\r\n")
        lines = difflib.unified_diff(_lines(text), _lines(new), f"a/{name}", f"b/{name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def _groups(self) -> dict[str, list[Stage]]:
        """Return the stages of each definition that has something to edit."""
        groups: dict[str, list[Stage]] = {}
        for stage in self.stages:
            groups.setdefault(stage.name.partition("@")[0], []).append(stage)
        return {base: group for base, group in groups.items() if any(stage.address in self.changes for stage in group)}

    def _edit(self, node: Any, base: str, group: list[Stage]) -> None:
        """Edit one definition: what all of its stages need."""
        changes = [dict.fromkeys(self.changes.get(stage.address, ())) for stage in group]
        common = [change for change in changes[0] if all(change in each for each in changes)]
        for stage, each in zip(group, changes, strict=True):
            for change in each:
                if change not in common:
                    self._note(
                        f"{stage.address}: {change}: not all stages of '{base}' need it; edit the template by hand"
                    )
        node = node.get("do", node)
        below = _take_tail(node)
        for change in common:
            section, sign, value = change.split(" ", 2)
            edit = _edit_params if section == "params" else _edit_items
            inner = _take_tail(node.get(section))
            if not edit(node, section, sign == "+", value):
                self._note(f"{group[0].address}: {change}: it is written in another way; edit it by hand")
            _give_tail(node.get(section, node), inner)
        _give_tail(node, below)

    def _note(self, text: str) -> None:
        self.notes.append(f"{self.file}: {text}")


def _edit_items(node: Any, section: str, add: bool, value: str) -> bool:
    """Add a path to deps or outs, or remove it. Return whether that could be done."""
    path = value.removesuffix(":tracked") if section == "outs" else value
    in_git = path != value
    found = node.get(section)
    if found is None:
        if not add:
            return False
        found = node[section] = CommentedSeq()
    index = next((index for index, one in enumerate(found) if _name(one) == path), None)
    if add and index is None:
        entry = CommentedMap({path: CommentedMap({"cache": False})}) if in_git else path
        found.append(entry)
    elif not add:
        if index is None:
            return False
        _remove(node, section, found, index)
    return True


def _edit_params(node: Any, section: str, add: bool, value: str) -> bool:
    """Add a parameter 'FILE:NAME', or remove it. Return whether that could be done."""
    file, _, key = value.partition(":")
    found = node.get(section)
    if found is None:
        if not add:
            return False
        found = node[section] = CommentedSeq()
    mappings = [one for one in found if isinstance(one, dict) and file in one]
    if not add:
        return _remove_param(node, section, found, file, key)
    if not key:
        found.append(CommentedMap({file: None}))
    elif mappings:
        names = mappings[0][file]
        if names is None or key in names:
            return True  # the whole file is declared
        names.append(key)
    else:
        found.append(key if file == "params.yaml" else CommentedMap({file: CommentedSeq([key])}))
    return True


def _remove_param(node: Any, section: str, found: Any, file: str, key: str) -> bool:
    for index, one in enumerate(found):
        if one == key and file == "params.yaml":
            _remove(node, section, found, index)
            return True
        if isinstance(one, dict) and isinstance(one.get(file), list) and key in one[file]:
            one[file].remove(key)
            if not one[file] and len(one) > 1:
                del one[file]
            elif not one[file]:
                _remove(node, section, found, index)
            return True
    return False


def _remove(node: Any, section: str, found: Any, index: int) -> None:
    """Remove an entry; comments and empty lines below it stay."""
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
    best, least = None, None
    for indent in INDENTS:
        yaml = _yaml(*indent)
        dumped = _dumped(yaml, yaml.load(text))
        changed = sum(line[0] in "+-" for line in difflib.ndiff(_lines(text), _lines(dumped)))
        if least is None or changed < least:
            best, least = indent, changed
        if not changed:
            break
    return _yaml(*(best or INDENTS[0]))


def _yaml(mapping: int, sequence: int, offset: int) -> YAML:
    yaml = preserving()
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _dumped(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
