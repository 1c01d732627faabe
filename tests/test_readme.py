"""The READMEs: figures from committed files, both saying the same, and nothing named that does not exist."""

import json
import re
from pathlib import Path

import pytest

from bench.seeds import settings
from bench.sweep import lines
from stages.console import InputError
from tests.conftest import ROOT
from verify.readme import OTHER_TABLES, WORDS, fill, sweep

READMES = {"en": ROOT / "README.md", "vi": ROOT / "README.vi.md"}


@pytest.mark.parametrize("language", READMES)
def test_figures_are_those_of_the_committed_files(language: str) -> None:
    text = READMES[language].read_text(encoding="utf-8")
    assert fill(text, ROOT, WORDS[language]) == text, "run `make readme`"
    accuracy = json.loads((ROOT / "metrics" / "scores.json").read_text())["test"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in text


def test_the_table_of_the_convnets_sweep_is_that_of_its_file() -> None:
    text = (ROOT / "docs" / "convnet.md").read_text(encoding="utf-8")
    assert fill(text, ROOT, WORDS["en"], OTHER_TABLES["convnet.md"]) == text, "run `make readme`"
    assert "| the best |" in text


@pytest.mark.parametrize("language", READMES)
def test_the_line_shown_of_the_sweep_is_what_it_prints(language: str) -> None:
    points = json.loads((ROOT / "bench" / "results" / "sweep.json").read_text(encoding="utf-8"))["points"]
    best = " ".join(list(lines(points))[1].split())
    assert f"| `{best}` |" in READMES[language].read_text(encoding="utf-8")


def test_a_sweep_of_other_parameters_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    study = json.loads((ROOT / "bench" / "results" / "sweep.json").read_text(encoding="utf-8"))
    study["params"]["train"]["epochs"] += 1
    (folder / "sweep.json").write_text(json.dumps(study), encoding="utf-8")
    with pytest.raises(InputError, match=r"sweep\.json: expected a sweep with params\.yaml as it is"):
        sweep(tmp_path, WORDS["en"])


def test_a_figure_that_drifted_is_found() -> None:
    text = READMES["en"].read_text(encoding="utf-8")
    mean = json.loads((ROOT / "bench" / "results" / "seeds.json").read_text())["test_accuracy"]["mean"]
    drifted = text.replace(f"{100 * mean:.2f} %", "99.99 %")
    assert drifted != text
    assert fill(drifted, ROOT, WORDS["en"]) == text


def test_a_readme_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="expected a place <!-- results -->"):
        fill("# Nothing", ROOT, WORDS["en"])


@pytest.mark.parametrize(
    "document", [*READMES.values(), *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
)
def test_links_and_make_targets_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (document.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets


def test_both_languages_have_the_same_commands_files_and_figures() -> None:
    english, vietnamese = (path.read_text(encoding="utf-8") for path in READMES.values())
    for pattern in (r"^## ", r"^```", r"\]\([^)]+\)", r"`[a-z_./]+`", r"^\$ [a-z]+ [a-z]+"):
        ours, theirs = (re.findall(pattern, text, re.MULTILINE) for text in (english, vietnamese))
        known = {"](README.md)", "](README.vi.md)", "`evaluate`"}
        assert sorted(set(ours) - known) == sorted(set(theirs) - known), pattern
    figures = [re.findall(r"\d+\.\d\d+ %", text) for text in (english, vietnamese)]
    assert figures[0] == figures[1]


def test_the_tree_names_every_module() -> None:
    text = READMES["en"].read_text(encoding="utf-8")
    for module in (ROOT / "stages").glob("[a-z]*.py"):
        assert module.name in text, module.name


def test_the_committed_run_is_the_run_of_its_seed_and_a_typical_one() -> None:
    study = json.loads((ROOT / "bench" / "results" / "seeds.json").read_text())
    match = re.search(r"^  seed: (\d+)$", (ROOT / "params.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None
    scores = json.loads((ROOT / "metrics" / "scores.json").read_text())
    assert study["params"] == settings(), "run `make seeds`"
    run = next(run for run in study["runs"] if run["seed"] == int(match[1]))
    assert (run["test_accuracy"], run["train_accuracy"]) == (scores["test"]["accuracy"], scores["train"]["accuracy"])
    mean = study["test_accuracy"]["mean"]
    nearest = min(study["runs"], key=lambda other: abs(other["test_accuracy"] - mean))
    assert run == nearest
