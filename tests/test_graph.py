"""dvc.yaml: the code that each stage depends on is the code that it imports."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import ROOT

STAGES = ["load", "preprocess", "train", "evaluate"]
PACKAGES = ("bench", "digits", "dvcproof", "exactkeras", "stages")

#: Modules below a folder of a stage's deps that the stage does not import. Naming the others one by one would be longer
#: and gain nothing: an edit of these runs a stage before or after this one all the same.
UNUSED = {
    "load": {"digits/data/splits.py"},
    "preprocess": set(),
    "train": set(),
    "evaluate": {"exactkeras/chain.py", "exactkeras/check.py"},
}


def graph() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def named_by(node: ast.AST) -> list[str]:
    """The modules that a statement may import: `from a import b` may mean a.b."""
    if isinstance(node, ast.ImportFrom):
        assert node.module, "an import from the folder itself"
        assert not node.level, f"a relative import from {node.module}"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def file_of(module: str, root: Path) -> Path | None:
    """The file of a module of this project, a package's __init__.py among them."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    path = root / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(file: Path, root: Path = ROOT, seen: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """Every file of the project that one imports, at its top or inside a function, directly or through another."""
    seen |= {file}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for module in named_by(node):
            parents = [module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)]
            for found in (file_of(name, root) for name in parents):
                if found and found not in seen:
                    seen |= imported(found, root, seen)
    return seen


#: They look at the processor, and stop the program or do nothing.
NO_EFFECT = {"digits/__init__.py", "dvcproof/__init__.py", "stages/__init__.py"}

#: The wording of errors. A stage imports it only once it has failed, so an edit of it need not run the stage again:
#: `test_pipeline.py` shows that stages that succeed have imported none of it.
WORDING = ("dvcproof/messages.py", "dvcproof/package_errors.py", "dvcproof/values.py", "digits/param_errors.py")


def imports_of(stage: str) -> set[str]:
    """What a stage imports, itself included. An empty __init__.py cannot change a result."""
    files = imported(ROOT / "stages" / f"{stage}.py") | imported(ROOT / "dvcproof" / "runtime" / "run.py")
    names = {path.relative_to(ROOT).as_posix() for path in files if path.read_text("utf-8").strip()} - NO_EFFECT
    return {name for name in names if name not in WORDING}


def test_every_command_refuses_other_packages_first() -> None:
    for name, stage in graph().items():
        runner = ["python", "-m", "dvcproof.runtime.run", "requirements.lock", f"stages.{name}"]
        assert stage["cmd"].split()[:5] == runner


def code_deps(stage: str) -> set[str]:
    return {path for path in graph()[stage]["deps"] if path.split("/")[0] in PACKAGES}


def modules_of(deps: set[str]) -> set[str]:
    """The files of code among the deps, those in their folders included."""
    files: set[Path] = set()
    for dep in deps:
        files |= set((ROOT / dep).rglob("*.py")) if (ROOT / dep).is_dir() else {ROOT / dep}
    return {path.relative_to(ROOT).as_posix() for path in files if path.read_text(encoding="utf-8").strip()}


def test_the_stages_are_those_of_the_folder() -> None:
    assert list(graph()) == STAGES
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*STAGES, "__init__"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_import_is_covered_by_the_deps(stage: str) -> None:
    assert imports_of(stage) - modules_of(code_deps(stage)) == set()


def test_the_wording_of_errors_is_imported_inside_functions_alone() -> None:
    wording = {path.removesuffix(".py").replace("/", ".") for path in WORDING}
    modules = {path for stage in STAGES for path in imports_of(stage)}
    assert "dvcproof/runtime/program.py" in modules
    for module in modules:
        for statement in ast.parse((ROOT / module).read_text(encoding="utf-8")).body:
            nodes = [] if isinstance(statement, ast.FunctionDef | ast.ClassDef) else [*ast.walk(statement)]
            assert not [name for node in nodes for name in named_by(node) if name in wording], module


@pytest.mark.parametrize("stage", STAGES)
def test_every_folder_of_the_deps_is_used(stage: str) -> None:
    deps, used = code_deps(stage), imports_of(stage)
    assert modules_of(deps) - used == UNUSED[stage]
    assert all(modules_of({dep}) & used for dep in deps)


def test_what_is_not_used_runs_a_stage_beside_it() -> None:
    neighbours = {"load": "preprocess", "evaluate": "train"}
    for stage, files in UNUSED.items():
        assert not files or files <= imports_of(neighbours[stage]), stage


def test_what_has_no_effect_binds_no_name() -> None:
    for path in NO_EFFECT:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        kinds = {type(node) for node in tree.body[1:]}  # after the docstring
        assert kinds <= {ast.Import, ast.ImportFrom, ast.If, ast.Try}, path


def test_no_stage_depends_on_what_is_above_it() -> None:
    for stage in STAGES:
        above = ("bench", "digits/apps")
        assert not [path for path in modules_of(code_deps(stage)) if path.startswith(above)], stage
        assert {path for path in code_deps(stage) if path.startswith("dvcproof")} == {"dvcproof/runtime"}
    for stage in ("load", "preprocess", "train"):
        assert not any(path.startswith("digits/scoring") for path in modules_of(code_deps(stage))), stage


def test_the_import_tree_reaches_through_modules_and_functions() -> None:
    # evaluate imports archive inside a function, and determinism imports machine
    assert {"exactkeras/archive.py", "dvcproof/runtime/machine.py"} <= imports_of("evaluate")
    assert "exactkeras/check.py" not in imports_of("evaluate")


def test_the_import_tree_reads_every_form_of_import(tmp_path: Path) -> None:
    for folder, text in {"digits": "import digits.b", "digits/room": "", "stages": ""}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(text)
    for name, text in {"a": "def f():\n    from digits.room import c", "b": "", "room/c": "", "d": ""}.items():
        (tmp_path / "digits" / f"{name}.py").write_text(text)
    stage = tmp_path / "stages" / "load.py"
    stage.write_text("import json\nimport digits.a\n")
    found = {path.relative_to(tmp_path).as_posix() for path in imported(stage, tmp_path)}
    digits = {f"digits/{name}.py" for name in ("__init__", "a", "b", "room/__init__", "room/c")}
    assert found == {"stages/load.py"} | digits
    stage.write_text("from . import preprocess\n")
    with pytest.raises(AssertionError, match="an import from the folder itself"):
        imported(stage, tmp_path)


def test_every_stage_has_a_description_and_the_lock_file() -> None:
    for name, stage in graph().items():
        assert stage["desc"], name
        assert "requirements.lock" in stage["deps"], name


def test_code_holds_no_path_of_the_graph() -> None:
    paths = [path for stage in graph().values() for path in (*stage["deps"], *stage.get("outs", []))]
    folders = {str(Path(path).parent) for path in paths if path.startswith(("data/", "metrics/"))}
    modules = {ROOT / path for stage in STAGES for path in modules_of(code_deps(stage))}
    assert len(modules) > 20
    for module in modules:
        strings = [
            node.value
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
        ]
        assert not [text for text in strings if any(text.startswith(f"{folder}/") for folder in folders)], module
