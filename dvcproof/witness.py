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
from dvcproof.lockfile import Stage
from dvcproof.runtime.files import replacing
from dvcproof.runtime.watch import RECORDS, matches, sample


def contradictions(cache: Cache) -> Iterator[tuple[str, str]]:
    """Find stages that ran, and an input or output for which dvc.lock names what the stage has not read or written.

    To be asked at once after `dvc repro`: it takes dvc.lock for what DVC wrote then.
    """
    for name, stage, seen in _witnessed(cache):
        differences = (*_differences(cache.root, name, stage, seen), *_others(cache, stage, seen))
        if differences:
            yield name, differences[0]


def others_results(cache: Cache) -> Iterator[tuple[str, str]]:
    """Find stages that ran some time ago, and an output that dvc.lock names, but that the stage did not write.

    Only where dvc.lock still names the inputs that the stage has read: it may be another since.
    """
    for name, stage, seen in _witnessed(cache):
        other = next(_others(cache, stage, seen), None)
        same = other and not any(_differences(cache.root, name, stage, seen))
        if other and same and _current(cache.root, name).deps == stage.deps:
            yield name, other


def _witnessed(cache: Cache) -> Iterator[tuple[str, Stage, dict[str, Any]]]:
    stages = cache.lock().stages
    for path in sorted((cache.root / RECORDS).glob("*.json")):
        with suppress(ValueError):  # a damaged one
            if path.stem in stages:
                yield path.stem, stages[path.stem], json.loads(path.read_bytes())


def _others(cache: Cache, stage: Stage, seen: dict[str, Any]) -> Iterator[str]:
    """Find outputs that are not those that the stage wrote."""
    for out in stage.outs:
        if out.md5 and (written := seen.get("outputs", {}).get(out.path)):
            places = [place for place in (*cache.places(out.md5), cache.root / out.path) if place.is_file()]
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


def drop(cache: Cache, stage: str) -> None:
    """Take what a stage did out of dvc.lock and out of the cache of runs, so that DVC runs it again.

    Its place in dvc.lock stays: what DVC writes there then is where Git has it.
    """
    path = cache.root / "dvc.lock"
    document = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    entry = document["stages"][stage]
    cache.drop_record(entry)
    entry.clear()
    entry["cmd"] = ""
    with replacing(path) as (file,):
        file.write_text(dumps_yaml(document), encoding="utf-8")
