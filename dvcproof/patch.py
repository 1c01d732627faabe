"""Write the edits that findings propose as a unified diff of each dvc.yaml, with notes on edits to make by hand."""

import difflib
import json
import os
from contextlib import suppress
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from dvcproof.findings import Report
from dvcproof.project import Project


def patched(project: Project, report: Report) -> str:
    """Return a unified diff for `git apply` that makes the edits which the findings propose in each dvc.yaml.

    Lines before the diff that begin with '#' name edits to make by hand. The text is empty if there is nothing to edit.
    """
    notes: list[str] = []
    parts = [
        _difference(project, report, file, notes) for file in dict.fromkeys(stage.file for stage in project.stages)
    ]
    return "".join(f"# {note}\n" for note in dict.fromkeys(notes)) + "".join(parts)


def _difference(project: Project, report: Report, file: str, notes: list[str]) -> str:
    """Return the diff of one dvc.yaml, whose path is relative to the project's root; add edits to make by hand."""
    changes: dict[str, dict[str, None]] = {}  # address of a stage -> changes, in order
    for finding in report.findings:
        if finding.file == file and finding.change:
            changes.setdefault(finding.stage, {}).update(dict.fromkeys(finding.change.splitlines()))
    if not changes:
        return ""
    path = project.root / file
    with path.open(encoding="utf-8", newline="") as stream:
        old = stream.read()
    new = old.replace("\r\n", "\n")
    groups: dict[str, list[str]] = {}  # name in dvc.yaml -> addresses of its stages
    for stage in (stage for stage in project.stages if stage.file == file):
        groups.setdefault(stage.name.partition("@")[0], []).append(stage.address)
    for name, group in groups.items():
        every = [changes.get(address, {}) for address in group]
        common = [change for change in every[0] if all(change in each for each in every)]
        others = [(address, change) for address, each in zip(group, every, strict=True) for change in each]
        why = f"not all stages of '{name}' need it; edit the template by hand"
        notes += [f"{file}: {address}: {change}: {why}" for address, change in others if change not in common]
        for change in common:
            try:
                new = edited(new, name, change)
            except LookupError:
                notes.append(f"{file}: {group[0]}: {change}: it is written in another way; edit it by hand")
    new = new.replace("\n", "\r\n") if "\r\n" in old else new
    shown = os.path.relpath(path, project.top or project.root)
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{shown}", f"b/{shown}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def edited(text: str, stage: str, change: str) -> str:
    """Return the text of a dvc.yaml with one change, such as 'deps + src/helper.py'. All else stays as it is.

    Raise LookupError if the entries are not where they usually are.
    """
    section, sign, value = change.split(" ", 2)
    node = _pairs(_pairs(YAML(typ="safe", pure=True).compose(text))["stages"])[stage]
    node = _pairs(node).get("do", node)
    found = _pairs(node).get(section)
    if "<<" in _pairs(node) or (found and not isinstance(found, SequenceNode)):
        raise LookupError(section)
    path, _, key = (value, "", "") if section == "deps" else value.partition(":")
    is_param = section == "params"
    # An entry is a path, or a mapping from a path to options: of params, to a list of names.
    entries = {_name(entry): entry for entry in found.value} if found else {}
    inner = _pairs(entries.get(path)).get(path)
    keys = {_name(entry): entry for entry in inner.value} if is_param and isinstance(inner, SequenceNode) else {}
    if sign == "-":
        if key in keys and len(keys) > 1:
            return _without(text, inner, keys[key])
        gone = entries[key if is_param and key not in keys else path]
        return _without(text, found, gone) if len(entries) > 1 else _without(text, node, found)
    if key in keys or (path in entries and not keys):
        return text
    if keys:
        return _with(text, inner, _scalar(key))
    entry = _scalar(path)
    if is_param and key:
        entry = _scalar(key) if path == "params.yaml" else f"{entry}: [{_scalar(key)}]"
    elif key or is_param:  # key: the mark of an output that is in Git
        entry += ": {cache: false}" if key else ":"
    if found:
        return _with(text, found, entry)
    begin = "\n" + " " * (node.start_mark.column + 2)
    return _with(text, node, f"{section}: [{entry}]" if node.flow_style else f"{section}:{begin}- {entry}")


def _pairs(node: Any) -> dict[str, Any]:
    """Return the values of a mapping by key; nothing for another node."""
    return {key.value: value for key, value in node.value} if isinstance(node, MappingNode) else {}


def _name(entry: Any) -> str:
    return next(iter(_pairs(entry)), str(entry.value))


def _scalar(text: str) -> str:
    """Return a text as YAML, in quotes only if it needs them."""
    with suppress(YAMLError):
        if YAML(typ="safe", pure=True).load(f"[{text}]") == [text]:
            return text
    return json.dumps(text, ensure_ascii=False)


def _end(text: str, node: Any) -> int:
    """Return the position behind the last character of a node. (The marks of a block include comments after it.)"""
    while not isinstance(node, ScalarNode) and node.value and not node.flow_style:
        node = node.value[-1][1] if isinstance(node, MappingNode) else node.value[-1]
    return len(text[: node.end_mark.index].rstrip())


def _with(text: str, node: Any, entry: str) -> str:
    """Return the text with one more entry at the end of a list or mapping."""
    end = _end(text, node)
    if node.flow_style:
        comma = ", " if node.value else ""
        return f"{text[: end - 1].rstrip()}{comma}{entry}{text[end - 1 :]}"
    line_end = text.find("\n", end) if "\n" in text[end:] else len(text)
    dash = "- " if isinstance(node, SequenceNode) else ""
    return f"{text[:line_end]}\n{' ' * node.start_mark.column}{dash}{entry}{text[line_end:]}"


def _without(text: str, node: Any, gone: Any) -> str:
    """Return the text without one entry of a list or mapping. Comments below a removed line stay."""
    pairs = node.value if isinstance(node, MappingNode) else []
    begin = next((key for key, value in pairs if value is gone), gone).start_mark.index
    end = _end(text, gone)
    if not node.flow_style:
        begin, line_end = text.rfind("\n", 0, begin) + 1, text.find("\n", end)
        return text[:begin] + (text[line_end + 1 :] if line_end >= 0 else "")
    before, after = text[:begin].rstrip(), text[end:].lstrip()
    if before.endswith(","):
        return before[:-1] + text[end:]
    return text[:begin] + after.removeprefix(",").lstrip()
