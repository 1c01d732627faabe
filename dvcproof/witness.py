"""Check whether DVC recorded the files that each stage has read and written.

DVC hashes inputs and outputs only after a stage has ended. `dvcproof.runtime.run` refuses changes while the stage runs.
This module finds changes between the end of the stage and DVC's hashing: edits, and earlier results that another DVC
command put in place of the new ones.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from dvcproof.cache import Cache
from dvcproof.lockfile import Stage
from dvcproof.runtime.files import replacing
from dvcproof.runtime.watch import RECORDS, matches, sample


def contradictions(cache: Cache) -> Iterator[tuple[str, str]]:
    """Find stages whose record in dvc.lock differs from what they read and wrote. Yield stage and first difference.

    Call this immediately after `dvc repro`, since it assumes that this run wrote dvc.lock.
    """
    for name, stage, seen in _witnessed(cache):
        differences = (*_differences(cache.root, name, stage, seen), *_others(cache, stage, seen))
        if differences:
            yield name, differences[0]


def others_results(cache: Cache) -> Iterator[tuple[str, str]]:
    """Find stages with an output in dvc.lock that the stage's last run did not write. Yield stage and output.

    Skip stages whose inputs in dvc.lock are no longer those of the last run: dvc.lock may then record another run.
    """
    for name, stage, seen in _witnessed(cache):
        other = next(_others(cache, stage, seen), None)
        same = other and not any(_differences(cache.root, name, stage, seen))
        if other and same and _current(cache.root, name).deps == stage.deps:
            yield name, other


def _witnessed(cache: Cache) -> Iterator[tuple[str, Stage, dict[str, Any]]]:
    stages = cache.lock().stages
    for path in sorted((cache.root / RECORDS).glob("*.json")):
        with suppress(ValueError):  # skip damaged notes
            if path.stem in stages:
                yield path.stem, stages[path.stem], json.loads(path.read_bytes())


def _others(cache: Cache, stage: Stage, seen: dict[str, Any]) -> Iterator[str]:
    """Find outputs whose content in dvc.lock is not what the stage wrote."""
    for out in stage.outs:
        if out.md5 and (written := seen.get("outputs", {}).get(out.path)):
            places = [place for place in (*cache.places(out.md5), cache.root / out.path) if place.is_file()]
            same = any(sample(place) == written for place in places)
            if not same and any(cache.is_good(place, out.md5) for place in places):  # a good copy exists
                yield out.path


def _differences(root: Path, name: str, stage: Stage, seen: dict[str, Any]) -> Iterator[str]:
    for path, values in seen["params"].items():
        recorded = stage.params.get(path, {})
        yield from (f"'{key}' in {path}" for key in values if key in recorded and recorded[key] != values[key])
    changed = [path for path, before in seen["files"].items() if not matches(root / path, before)]
    if changed:
        # DVC may have hashed the files before they changed. Report only files whose present content DVC recorded.
        current = {file.path: file.md5 for file in _current(root, name).deps}
        for file in stage.deps:
            inside = [path for path in changed if Path(path).is_relative_to(file.path)]
            if inside and current.get(file.path) == file.md5:
                yield inside[0]


def _current(root: Path, name: str) -> Stage:
    from dvcproof.project import Project  # imported late: it loads all of DVC, and is seldom needed

    with Project.open(root) as project:
        stage = next(stage for stage in project.stages if stage.address == name)
        return Stage.model_validate(project.entry(stage))


def drop(cache: Cache, stage: str) -> None:
    """Remove a stage's results from dvc.lock and from the run cache, so that DVC runs the stage again.

    An empty entry stays in dvc.lock, so that the new entry has the same place as in Git.
    """
    path = cache.root / "dvc.lock"
    document = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    entry = document["stages"][stage]
    cache.drop_record(entry)
    entry.clear()
    entry["cmd"] = ""
    with replacing(path) as (file,):
        file.write_text(dumps_yaml(document), encoding="utf-8")
