"""The gate of a pull request: a clearly worse model passes only if a commit says why; all others pass."""

import json
import re
import shlex
from pathlib import Path

import pytest

from digits.apps.gate import main
from digits.apps.options import Files
from digits.apps.results import study_params
from digits.apps.runs import ANOTHER, earlier_run
from dvcproof.runtime.files import file_hash, write_csv
from dvcproof.values import set_params
from tests.support.project import commit, recipe_params, run_ok
from tests.support.refusal import one_line, refusal
from tests.support.verifying import run_main

IMAGES = 1000
ARGUMENTS = shlex.split("--params params.yaml --lock dvc.lock --metrics metrics --seeds seeds.json --against")
BASE = set(range(20))  # misread images: 98.0 %


def write_run(project: Path, wrong: set[int], *, test_set: str = "a") -> None:
    """Write the files of a run that misreads the test images `wrong`, out of 1,000."""
    metrics = project / "metrics"
    metrics.mkdir(exist_ok=True)
    score = {"accuracy": 1 - len(wrong) / IMAGES, "loss": 0.1}
    (metrics / "scores.json").write_text(json.dumps({"test": score, "train": score, "gap": score}))
    (metrics / "history.json").write_text(json.dumps({"epochs": [score | {"epoch": 1}]}))
    pairs = [(image % 10, (image + (image in wrong)) % 10) for image in range(IMAGES)]
    write_csv(metrics / "confusion.csv", ["label", "predicted"], pairs)
    write_csv(metrics / "per_class.csv", ["label", "precision"], [(label, 1) for label in range(10)])
    deps = [{"path": f"data/prepared/test_{name}.npy", "md5": test_set} for name in ("features", "labels")]
    outs = [{"path": f"metrics/{path.name}", "md5": file_hash(path, "md5")} for path in sorted(metrics.iterdir())]
    lock = {"stages": {"evaluate": {"cmd": "evaluate", "deps": deps, "outs": outs}}}
    (project / "dvc.lock").write_text(json.dumps(lock))  # JSON is YAML


def write_seeds(project: Path, accuracies: list[float]) -> None:
    runs = [{"test_accuracy": accuracy} for accuracy in accuracies]
    study = {"params": study_params(project / "params.yaml"), "runs": runs}
    (project / "seeds.json").write_text(json.dumps(study))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder: a branch from `main`. The run of `main` has 98.0 %; over seeds 98.0 % +- 0.8."""
    recipe_params(tmp_path)
    write_run(tmp_path, BASE)
    write_seeds(tmp_path, [0.978, 0.978, 0.98, 0.982, 0.982])
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=tmp_path)
    commit(tmp_path, "base")
    run_ok("git", "checkout", "--quiet", "-b", "branch", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def onto_main(project: Path, message: str) -> None:
    """Commit everything, and move `main` to this commit."""
    commit(project, message)
    run_ok("git", "branch", "--force", "main", cwd=project)


def passes(project: Path) -> str:
    """Run the gate, which must let the change pass, and return its output."""
    status, output, errors = run_main(main, project, *ARGUMENTS, "main")
    assert (status, errors) == (0, "")
    assert output.endswith("gate: ok\n")
    return output


def stops(project: Path) -> list[str]:
    """Run the gate, which must stop the change, and return its error lines."""
    status, output, errors = run_main(main, project, *ARGUMENTS, "main")
    assert status == 1
    assert "gate: ok" not in output
    return [one_line(line) for line in errors.splitlines()]


def test_what_is_not_clearly_worse_passes(project: Path) -> None:
    for wrong, headline in (
        (BASE, "The same predictions as before"),
        (set(range(8, 20)), "Better than before"),
        (BASE | {500, 501}, "No clear difference"),  # slightly worse
        (set(range(15, 37)), "No clear difference"),  # other images
    ):
        write_run(project, wrong)
        output = passes(project)
        assert re.match(rf"gate: against \w+ \(base\): {headline}\. ", output)
        assert "; over seeds 0.9800 +- 0.0080 (4 standard deviations over 5 seeds)\n" in output


def test_clearly_worse_predictions_are_stopped(project: Path) -> None:
    write_run(project, BASE | set(range(500, 507)))  # 97.3 %, within the spread: 7 newly wrong and none newly right
    (error,) = stops(project)
    assert "test predictions: expected a model that is not worse than that of " in error
    assert "Got worse than before. `make report AGAINST=main` shows where. If it is intended, say why: git" in error


def test_an_accuracy_below_the_spread_is_stopped(project: Path) -> None:
    write_run(project, set(range(27)))  # 97.3 %: a base that slowly became worse; the limit is 97.2 %
    onto_main(project, "eroded")
    write_run(project, set(range(29)))
    (error,) = stops(project)
    assert "test accuracy: expected at least 0.9720, the lower end of 0.9800 +- 0.0080 (4 standard" in error
    assert "Got 0.9710. " in error
    write_seeds(project, [0.96] * 4 + [0.961])  # a change cannot move the limit that it is judged by
    assert len(stops(project)) == 1


def test_what_is_intended_passes_with_its_reason(project: Path) -> None:
    write_run(project, set(range(60)))
    commit(project, "Half as large\n\nAccept-worse-model:")  # without a reason
    errors = stops(project)
    assert [error.split(":")[1] for error in errors] == [" test predictions", " test accuracy"]
    (command,) = re.findall(r"git commit --allow-empty -a -m '[^']+' -m '[^']+'", errors[0])
    run_ok(*shlex.split(command.replace("REASON", "half as large, twice as fast")), cwd=project)
    output = passes(project)
    assert "gate: test accuracy: expected at least 0.9720, the lower end of " in output
    assert re.search(r"gate: commit \w+ accepts it: half as large, twice as fast\n", output)


def test_a_shallow_clone_of_what_is_not_worse_passes(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report says why there is no run to compare with. A worse model needs the history of the clone."""
    run_ok("git", "commit", "--quiet", "--allow-empty", "--message", "more", cwd=project)
    path, options = tmp_path_factory.mktemp("clone") / "clone", ("--quiet", "--branch", "branch", "--depth=1")
    run_ok("git", "clone", *options, project.as_uri(), str(path), cwd=path.parent)
    run_ok("git", "fetch", "--quiet", "--depth=1", "origin", "+main:main", cwd=path)
    assert "The same predictions as before" in passes(path)
    monkeypatch.chdir(path)
    assert "this clone is shallow" in str(earlier_run(Files(), None, committed=True))
    write_run(path, set(range(60)))
    commit(path, "Worse\n\nAccept-worse-model: half as large")
    said = refusal(main, *ARGUMENTS, "main")
    assert "the history: this clone is shallow, and HEAD and main have no common commit. Run `git fetch" in said


def test_without_a_study_for_these_parameters_the_predictions_decide(project: Path) -> None:
    set_params(project / "params.yaml", {"dense.units": 16})
    write_run(project, BASE | {500})
    assert "; the spread over seeds was measured with other parameters\n" in passes(project)
    write_run(project, set(range(60)))
    assert len(stops(project)) == 1
    write_run(project, BASE)
    (project / "seeds.json").unlink()
    onto_main(project, "no study")
    assert "; no spread over seeds to compare with: path 'seeds.json' does not exist" in passes(project)


def test_what_cannot_be_judged_is_refused(project: Path) -> None:
    write_run(project, BASE, test_set="b")
    (error,) = stops(project)
    assert "Got not comparable: another test set. " in error
    (project / "seeds.json").write_text("{}")
    onto_main(project, "a damaged study")
    assert "seeds.json: " in refusal(main, *ARGUMENTS, "main")
    path = project / "metrics" / "scores.json"
    path.write_text(path.read_text() + " ")
    assert "metrics/scores.json: expected the file that dvc.lock names" in refusal(main, *ARGUMENTS, "main")


@pytest.mark.parametrize("against", ["", "nobody", "--all", "HEAD^{tree}", "HEAD..HEAD", "^HEAD"])
def test_a_commit_must_be_named(against: str) -> None:
    line = f"--against {against}: there is no run: bad revision '{against}'. {ANOTHER}"
    nothing = "--against: this must name a branch or commit with a run. Run `make gate AGAINST=origin/main`."
    assert refusal(main, *ARGUMENTS[:-1], f"--against={against}") == f"ERROR: {line if against else nothing}"
