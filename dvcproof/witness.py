"""Did DVC record what each stage has read and written? It hashes all of it after the stage has ended.

`dvcproof.runtime.run` refuses what changes while a stage runs. What changes between its last look and DVC's is seen
here: by another hand, or by another command of DVC, which may put earlier results in the place of new ones.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from dvcproof.cache import Cache
from dvcproof.lockfile import Lock, Stage
from dvcproof.runtime.files import replacing
from dvcproof.runtime.watch import RECORDS, matches, sample


def contradictions(root: Path, lock: Lock, cache: Cache) -> Iterator[tuple[str, str]]:
    """Stages that ran, and an input or output for which dvc.lock names what the stage has not read or written.

    To be asked at once after `dvc repro`: it takes dvc.lock for what DVC wrote then.
    """
    for name, seen in _witnessed(root, lock):
        stage = lock.stages[name]
        differences = (*_differences(root, name, stage, seen), *_others(root, stage, seen, cache))
        if differences:
            yield name, differences[0]


def others_results(root: Path, lock: Lock, cache: Cache) -> Iterator[tuple[str, str]]:
    """Stages that ran some time ago, and an output that dvc.lock names, but that the stage did not write.

    Only where dvc.lock still names the inputs that the stage has read: it may be another since.
    """
    for name, seen in _witnessed(root, lock):
        stage = lock.stages[name]
        other = next(_others(root, stage, seen, cache), None)
        if other and not any(_differences(root, name, stage, seen)) and _current(root, name).deps == stage.deps:
            yield name, other


def _witnessed(root: Path, lock: Lock) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((root / RECORDS).glob("*.json")):
        seen = None
        with suppress(ValueError):  # a damaged one
            seen = json.loads(path.read_bytes())
        if seen and path.stem in lock.stages:
            yield path.stem, seen


def _others(root: Path, stage: Stage, seen: dict[str, Any], cache: Cache) -> Iterator[str]:
    """Outputs that are not those that the stage wrote."""
    for out in stage.outs:
        if out.md5 and (written := seen.get("outputs", {}).get(out.path)):
            places = [place for place in (*cache.places(out.md5), root / out.path) if place.is_file()]
            same = any(sample(place) == written for place in places)
            if not same and any(cache.is_good(place, out.md5) for place in places):  # not only damaged ones
                yield out.path


def _differences(root: Path, name: str, stage: Stage, seen: dict[str, Any]) -> Iterator[str]:
    for path, values in seen["params"].items():
        recorded = stage.params.get(path, {})
        yield from (f"'{key}' in {path}" for key in values if key in recorded and recorded[key] != values[key])
    changed = [path for path, before in seen["files"].items() if not matches(root / path, before)]
    if changed:
        # DVC may have looked before they changed. If it did not, it has recorded what is here now.
        current = {file.path: file.md5 for file in _current(root, name).deps}
        for file in stage.deps:
            inside = [path for path in changed if Path(path).is_relative_to(file.path)]
            if inside and current.get(file.path) == file.md5:
                yield inside[0]


def _current(root: Path, name: str) -> Stage:
    from dvcproof.project import Project  # here, with all of DVC: it is seldom needed

    with Project.open(root) as project:
        stage = next(stage for stage in project.stages if stage.address == name)
        return Stage.model_validate(project.entry(stage))


def drop(root: Path, cache: Cache, stage: str) -> None:
    """Take what a stage did out of dvc.lock and out of the cache of runs, so that DVC runs it again.

    Its place in dvc.lock stays: what DVC writes there then is where Git has it.
    """
    path = root / "dvc.lock"
    document = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    entry = document["stages"][stage]
    cache.drop_record(entry)
    entry.clear()
    entry["cmd"] = ""
    with replacing(path) as (file,):
        file.write_text(dumps_yaml(document), encoding="utf-8")
