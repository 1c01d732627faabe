"""The code among the deps of each stage in dvc.yaml is the code that the stage imports."""

import ast
from typing import Any

import grimp  # of import-linter
import pytest
import yaml

from tests.support.project import ROOT

PACKAGES = ("bench", "digits", "dvcproof", "exactkeras", "stages")
STAGES = ["load", "preprocess", "train", "evaluate"]
IMPORTS = grimp.build_graph(*PACKAGES, cache_dir=None)

#: Modules below a folder of a stage's deps that the stage does not import. Listing all other modules would be longer
#: and gain nothing, since an edit of these modules makes another stage stale in any case.
UNUSED = {
    "load": (set[str](), ""),
    "preprocess": (set[str](), ""),
    "train": (set[str](), ""),
    "evaluate": ({"exactkeras/oracle.py", "exactkeras/probe.py"}, "train"),
}

#: Modules with the wording of errors. A stage imports them only after a failure, so that an edit need not make the
#: stage stale: `test_pipeline.py` shows that stages that succeed import none of these modules.
WORDING = {"dvcproof.messages", "dvcproof.package_errors", "dvcproof.values", "digits.param_errors"}


def graph() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def imports_of(stage: str) -> set[str]:
    """Return the files that a stage and its runner import, also inside functions, without the modules in WORDING."""
    own = {f"stages.{stage}", "dvcproof.runtime.run", "digits"}
    modules = own.union(*map(IMPORTS.find_upstream_modules, own)) - WORDING
    return {
        f"{module.replace('.', '/')}.py" for module in modules if (ROOT / f"{module.replace('.', '/')}.py").exists()
    }


def code_deps(stage: str) -> set[str]:
    return {path for path in graph()[stage]["deps"] if path.split("/")[0] in PACKAGES}


def modules_of(deps: set[str]) -> set[str]:
    """Return the Python files among the deps and in their folders, without __init__.py."""
    files = {file for dep in deps for file in ([ROOT / dep] if (ROOT / dep).is_file() else (ROOT / dep).rglob("*.py"))}
    return {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}


def test_the_stages_are_those_of_the_folder_and_refuse_other_packages_first() -> None:
    assert list(graph()) == STAGES
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*STAGES, "__init__"}
    for name, stage in graph().items():
        assert stage["cmd"].split()[:5] == [
            "python",
            "-m",
            "dvcproof.runtime.run",
            "requirements.lock",
            f"stages.{name}",
        ]
        assert "requirements.lock" in stage["deps"]
        assert stage["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_are_the_imports(stage: str) -> None:
    deps, used = code_deps(stage), imports_of(stage)
    unused, neighbour = UNUSED[stage]
    assert used - modules_of(deps) == set()
    assert modules_of(deps) - used == unused
    assert not unused or unused <= imports_of(neighbour)
    assert all(modules_of({dep}) & used for dep in deps)
    assert {path for path in deps if path.startswith("dvcproof")} == {"dvcproof/runtime"}
    above = ("bench", "digits/apps", *(["digits/scoring"] if stage != "evaluate" else []))
    assert not [path for path in used if path.startswith(above)]


def test_a_package_itself_binds_no_name() -> None:
    """So no stage depends on an __init__.py. That of digits only checks the processor."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert len(files) > len(PACKAGES)
    for path in files:
        kinds = {type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body[1:]}  # after the docstring
        assert kinds <= {ast.Import, ast.ImportFrom, ast.If, ast.Try}, path
