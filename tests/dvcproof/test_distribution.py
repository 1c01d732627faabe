"""dvcproof as a separate distribution: its files, its imports, and the exit statuses of its command line."""

import json
import re
import shutil
import site
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from dvcproof.__main__ import VERBS, main, parser
from dvcproof.findings import CANNOT_TELL, FOUND, HOLDS, STAGE_FAILED, USAGE
from dvcproof.version import VERSION
from tests.support.project import AT_ROOT, ROOT, run, run_ok, run_pipeline
from tests.support.verifying import run_main

#: Packages that the distribution must not import.
FOREIGN = ("bench", "digits", "exactkeras", "h5py", "keras", "numpy", "stages", "tensorflow")

GRAPH = """
stages:
  one:
    cmd: sort data.csv > one.txt
    deps: [data.csv]
    outs: [one.txt]
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return run_pipeline(tmp_path / "toy", {"dvc.yaml": GRAPH, "data.csv": "b\na\n"})


def test_its_table_is_the_packages(tmp_path: Path) -> None:
    table = tomllib.loads((ROOT / "dvcproof" / "pyproject.toml").read_text(encoding="utf-8"))
    assert table["project"]["version"] == VERSION
    assert (ROOT / "dvcproof" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    folders = {path.parent for path in (ROOT / "dvcproof").rglob("*.py") if "build" not in path.parts}
    assert {".".join(path.relative_to(ROOT).parts) for path in folders} == {*table["tool"]["setuptools"]["packages"]}
    assert run_ok(sys.executable, "-m", "dvcproof", "--version", cwd=tmp_path, env=AT_ROOT).split()[1] == VERSION


def test_it_imports_nothing_that_it_does_not_need(toy: Path) -> None:
    program = (
        "import json, sys\nfrom dvcproof.__main__ import main\nmain()\n"
        "sys.stderr.write(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    result = run(sys.executable, "-c", program, "check", "-C", str(toy), cwd=toy.parent, env=AT_ROOT)
    assert result.returncode == 0, result
    imported = json.loads(result.stderr)
    assert "dvc" in imported
    assert not {*imported}.intersection(FOREIGN)


@pytest.mark.slow
def test_the_exit_status_says_what_happened(toy: Path, tmp_path: Path) -> None:
    def status(*words: str | Path) -> int:
        return run_main(main, tmp_path, *map(str, words)).status

    assert status("check", "-C", toy) == status("doctor", "-C", toy) == HOLDS
    assert status("check", "--nonsense", "-C", toy) == status("check", "-C", tmp_path) == USAGE
    assert status("push", "-C", toy, "--remote", "none") == USAGE
    assert status("fetch", "-C", toy, "--remote", "http://127.0.0.1:9/x", "--patience", "1") == CANNOT_TELL
    assert status("audit", "-C", toy, "--remote", tmp_path.as_uri(), "--sample", "0") == USAGE
    assert status("audit", "-C", toy, "--remote", tmp_path.as_uri()) == CANNOT_TELL
    (toy / "data.csv").write_text("c\n", encoding="utf-8")
    assert status("check", "-C", toy) == FOUND
    (toy / "dvc.yaml").write_text(GRAPH.replace("sort", "false && sort"), encoding="utf-8")
    assert status("run", "-C", toy) == STAGE_FAILED


def test_its_page_is_short_and_has_every_verb_and_a_workflow() -> None:
    text = (ROOT / "dvcproof" / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert all(f"**{verb}**" in text for verb in VERBS)
    workflow = text.partition("## A workflow for GitHub\n")[2].partition("\n## ")[0]
    steps = yaml.safe_load(workflow)["jobs"]["proof"]["steps"]
    assert [*steps[0]["with"]] == ["fetch-depth"]
    commands = re.findall(r"dvcproof (\w+) ([^&]*)", steps[-1]["run"])
    assert [parser().parse_args([verb, *words.split()]).verb for verb, words in commands] == ["check", "gate"]


def test_a_report_for_programs_is_nothing_but_that(toy: Path, tmp_path: Path) -> None:
    words = ("run", "--format", "json", "-C", str(toy))
    result = run(sys.executable, "-m", "dvcproof", *words, cwd=tmp_path, env=AT_ROOT)
    assert json.loads(result.stdout)["summary"] == "0 of 1 stages ran"
    assert "didn't change" in result.stderr  # DVC's own words


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(toy: Path, tmp_path: Path) -> None:
    source = shutil.copytree(ROOT / "dvcproof", tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    build = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", str(source))
    run_ok(sys.executable, "-m", *build, cwd=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("dvcproof-*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name]
    assert {"dvcproof/__main__.py", "dvcproof/runtime/run.py"} <= {*names}
    assert all(name.startswith("dvcproof/") and name.endswith(".py") and "/test" not in name for name in names)
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run_ok(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")  # DVC's
    place = run_ok(str(python), "-I", "-c", "import dvcproof; print(dvcproof.__file__)", cwd=tmp_path)
    assert place.strip() == str(packages / "dvcproof" / "__init__.py")
    for words in (("check",), ("verify",), ("run",), ("doctor",)):
        output = run_ok(str(home / "bin" / "dvcproof"), *words, "-C", str(toy), cwd=tmp_path)
        assert output.rstrip().endswith(": ok"), output
