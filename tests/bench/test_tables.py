"""The documents: tables from committed files in their places, nothing named that does not exist, two READMEs alike.

All of it holds whatever is committed. Whether the tables are those of the committed results, `make check` says.
"""

import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import tables
from bench.__main__ import STUDIES
from bench.tables import DOCUMENTS, RESULTS, WORDS, fill, filled
from digits.study import study_params
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import ROOT, Arrays
from tests.support.results import RESULTS as PATH
from tests.support.results import document, write_documents, write_results
from tests.support.verifying import small_project

ENGLISH = WORDS | RESULTS["en"]
READMES = (ROOT / "README.md", ROOT / "README.vi.md")
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """The small project with results and documents. Not to be changed."""
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path_factory.mktemp("tables") / "project")
    write_results(project)
    write_documents(project)
    return project


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.slow
def test_the_table_of_both_networks(project: Path) -> None:
    dense, convnet = rows(tables.results(project, ENGLISH))
    assert re.fullmatch(r"\d\d\.\d\d %", dense[1])
    assert [dense[0], *dense[2:]] == ["`dense`, 1 epochs", f"{dense[1]} ± 1.58 (n = 5)", "published: 97.85 %"]
    assert convnet == [
        "`convnet`, 7 epochs",
        "-",
        "99.39 % ± 0.07 (n = 2)",
        "Keras's example, 15 epochs: 98.17 % ± 0.07 (n = 2)",
    ]


@pytest.mark.parametrize("language", RESULTS)
@pytest.mark.parametrize(("model", "epochs"), [("dense", 9), ("convnet", 3)])
def test_the_first_row_is_the_network_of_the_study(
    project: Path, tmp_path: Path, language: str, model: str, epochs: int
) -> None:
    """Only the dense network has a published figure."""
    copy = shutil.copytree(project, tmp_path / "project")
    set_params(copy / "params.yaml", {"train.model": model, f"{model}.epochs": epochs})
    seeds = copy / PATH / "seeds.json"
    study = json.loads(seeds.read_text(encoding="utf-8")) | {"params": study_params(copy / "params.yaml")}
    seeds.write_text(json.dumps(study), encoding="utf-8")
    words = WORDS | RESULTS[language]
    before, after = (rows(tables.results(folder, words)) for folder in (project, copy))
    assert after[0][0] == words["network"].format(model=model, epochs=epochs)
    assert f"`{model}`, {epochs} epoch" in after[0][0]
    assert after[0][1:3] == before[0][1:3]
    assert after[0][3] == (words["published"] if model == "dense" else "")
    assert after[1] == before[1]  # the study of the convnet is another one


def test_the_convnets_row_is_of_the_epochs_of_the_parameters(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    assert rows(tables.results(copy, ENGLISH))[1][0] == "`convnet`, 7 epochs"
    path = copy / PATH / "convnet.json"
    study = json.loads(path.read_text(encoding="utf-8"))
    study["params"]["convnet"]["epochs"] = 20
    path.write_text(json.dumps(study), encoding="utf-8")
    assert rows(tables.results(copy, ENGLISH))[1][:3] == ["`convnet`, 20 epochs", "-", "99.50 % ± 0.07 (n = 2)"]


def test_the_least_time_to_an_accuracy_is_that_of_the_quickest_that_reaches_it(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    path = copy / PATH / "convnet.json"

    def said(**accuracies: float) -> str:
        study = json.loads(path.read_text(encoding="utf-8"))
        for name, accuracy in accuracies.items():
            study["contestants"][name.strip("_")]["test_accuracy"]["mean"] = accuracy
        path.write_text(json.dumps(study), encoding="utf-8")
        return tables.convnet(copy, WORDS).rpartition("\n\n")[2]

    assert said(_7=0.995, _20=0.994).startswith(
        "The least time here to a mean of 99.0 %: 22 s, with `convnet.epochs` = 7."
    )
    assert said(_7=0.9899).startswith("The least time here to a mean of 99.0 %: 63 s, with `convnet.epochs` = 20.")
    assert said(_20=0.98, example=0.995, longx11=0.995).startswith("Measured on: ")


def test_the_table_of_the_whole_training_begins_with_the_studys_machine(project: Path) -> None:
    assert rows(tables.whole(project, WORDS)) == [
        ["Test 9000 (test-1-2-cores)", "avx2", "0", "99.34 %", ""],
        ["Test 9000 (test-2-2-cores)", "avx2", "0", "99.34 %", f"`{'c7' * 8}…`"],
    ]


def test_rates_are_of_the_kind_of_machine_of_the_convnets_study(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    speed = copy / PATH / "speed" / "test-1-2-cores.json"
    study = json.loads(speed.read_text(encoding="utf-8"))
    study["times"]["arrays hash"]["wall"]["median"] *= 9
    before = tables.scaling_images(project, WORDS), tables.scaling_workers(project, WORDS)
    other = speed.with_name("another.json")  # the first by name
    other.write_text(json.dumps(study), encoding="utf-8")
    assert (tables.scaling_images(copy, WORDS), tables.scaling_workers(copy, WORDS)) == before
    speed.unlink()
    assert tables.scaling_images(copy, WORDS) != before[0]


def test_the_same_table_in_vietnamese(project: Path) -> None:
    english, vietnamese = (tables.results(project, WORDS | RESULTS[language]) for language in ("en", "vi"))
    assert english != vietnamese
    figures = [re.findall(r"\d+\.\d\d+", text) for text in (english, vietnamese)]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 8


def test_the_table_of_processors(project: Path) -> None:
    hashes = [f"`{'d0' * 8}…`", f"`{'c0' * 8}…`"]
    assert rows(tables.processors(project, WORDS)) == [
        ["natively, on the machine that wrote this table", "x86-64", "2", *hashes],
        ["natively, held to AVX2", "x86-64", "2", *hashes],
        ["Intel Icelake-Server (emulated, with an L1 data cache of 48 KiB)", "x86-64", "4", *hashes],
        ["arm64 (emulated)", "arm64", "2", *hashes],
    ]


def test_the_table_of_the_convnet(project: Path) -> None:
    text = tables.convnet(project, WORDS)
    assert rows(text) == [
        ["Keras's example, 15 epochs", "2", "98.17 %", "0.07 %", "98.12 %", "98.22 %", "31 s"],
        ["this convnet, `convnet.epochs` = 7", "2", "99.39 %", "0.07 %", "99.34 %", "99.44 %", "22 s"],
        ["this convnet, `convnet.epochs` = 20", "2", "99.50 %", "0.07 %", "99.45 %", "99.55 %", "63 s"],
        [
            "this convnet, `convnet.epochs` = 90, `convnet.shift` = 0.5",
            "2",
            "99.51 %",
            "0.07 %",
            "99.46 %",
            "99.56 %",
            "90 s",
        ],
        ["the same, 11 views of each test image", "2", "99.60 %", "0.07 %", "99.55 %", "99.65 %", "90 s"],
    ]
    assert text.endswith("Measured on: Test 9000, 3 cores, avx2, Python 3.11.1.")


def test_the_tables_of_the_sweeps(project: Path) -> None:
    text = tables.sweep(project, WORDS)
    assert text.startswith("| `dense.units` | validation accuracy, mean of 2 seeds |")
    assert rows(text) == [["16", "93.22 %", "0.01 %", "the best"], ["8", "81.13 %", "0.01 %", "worse"]]
    text = tables.convnet_sweep(project, WORDS)
    assert text.startswith("| `convnet.warmup` | ")
    assert [row[0] for row in rows(text)] == ["0.15", "0"]


def test_the_table_of_speed(project: Path) -> None:
    text = tables.speed(project, WORDS)
    assert "median of 3 interleaved rounds" in text
    assert text.startswith("![Bars: ")
    assert "(../bench/results/speed/test-1-2-cores.png)\n" in text
    found = {row[0]: row[1:] for row in rows(text[text.index("| median") :])}
    assert list(found) == [WORDS[name] for name in tables.SPEED]
    # The median of 1, 2 and 4, times 1 plus a tenth for each part before it in `speed_results`.
    assert found[WORDS["cold"]] == ["5.60 s", "6.80 s", "0.82", "≤ 0.75"]
    assert found[WORDS["efficiency"]][3] == "≥ 0.58"
    assert found[WORDS["parameter"]][:2] == ["", ""]
    assert found[WORDS["parameter"]][2].endswith(" s")
    assert found[WORDS["peak_memory"]][3] == "≤ 200 MB"
    assert found[WORDS["cold against naive"]][3] == ""


def test_the_table_of_seeds(project: Path) -> None:
    text = tables.study_of_seeds(project, WORDS)
    assert "mean of 5 seeds" in text
    found = rows(text)
    assert [row[0] for row in found] == [WORDS[name] for name in ("test", "last", "train", "gap")]
    for row in found:
        run, mean, std, least, greatest = (float(cell.removesuffix(" %")) for cell in row[1:6])
        assert (run, std) == (mean, 1.58)  # in the made-up study the committed run is the mean
        assert (mean - least, greatest - mean) == pytest.approx((2, 2), abs=0.011)
    assert [row[6] for row in found] == ["97.85 %", "98.9 %", "", ""]


def test_what_make_repro_prints(project: Path) -> None:
    text = tables.summary(project, WORDS)
    assert text.startswith("```\ntest accuracy ")
    assert text.endswith("\n```")
    assert "worst mistakes: metrics/worst.png " in text


def test_the_table_of_workers(project: Path) -> None:
    dense = json.loads((project / PATH / "workers.json").read_text(encoding="utf-8"))["params"]["dense"]
    batches = f"batches of {dense['batch_size']}, 4 shards"
    assert rows(tables.workers(project, WORDS)) == [
        [f"{dense['units']} units, {batches}", "1", "10 s", "", f"`{'a0' * 8}…`"],
        [f"{dense['units']} units, {batches}", "2", "19 s", "2.0 GB", f"`{'a0' * 8}…`"],
        [f"2048 units, {batches}", "1", "10 s", "", f"`{'a1' * 8}…`"],
        [f"2048 units, {batches}", "2", "19 s", "2.0 GB", f"`{'a1' * 8}…`"],
    ]


def test_the_table_of_images_beyond_the_memory(project: Path) -> None:
    load, *_, evaluate = rows(tables.large(project, WORDS))
    assert load == ["`load`", "30 s", "20 s", "1.0 GB", "40 s", "25 s", "500 MB"]
    assert evaluate == ["`evaluate`", "120 s", "80 s", "4.0 GB", "160 s", "100 s", "2.0 GB"]
    text = tables.large(project, WORDS)
    assert "2 times the training set: 120,000 images, 376 MB of features; one epoch; held to 2.0 GB by a c" in text
    assert f"SHA-256 is `{'a0' * 8}…`" in text
    assert text.endswith("Memory: 8 GB.")


def test_the_tables_of_scaling(project: Path) -> None:
    images = rows(tables.scaling_images(project, WORDS))
    assert [row[:2] for row in images[:2]] == [["10^4", "39 MB"], ["10^5", "392 MB"]]
    alone, two, *_, most = rows(tables.scaling_workers(project, WORDS))
    assert (alone[:3], alone[-1]) == (["1", "", ""], "1 and 1")
    assert two[1] == two[2]  # one machine has no hierarchy
    assert most[0] == "1000"
    text = tables.scaling_workers(project, WORDS)
    assert (
        "Measured: 2 workers on one machine exchanged 2.0 GB, and took 10 s more than one, which is 0.21 GB/s." in text
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, ""), (4e-6, "4.0 µs"), (0.0099, "9.9 ms"), (61, "1.0 min"), (86400 * 12.3, "12 d")]
)
def test_times_have_two_digits(seconds: float, text: str) -> None:
    assert tables._duration(seconds) == text


@pytest.mark.fast(3)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_replaced_in_their_places(project: Path, tmp_path: Path, name: str) -> None:
    text = filled(name, project)
    assert text == (project / name).read_text(encoding="utf-8")
    copy = shutil.copytree(project, tmp_path / "project")
    for table in DOCUMENTS[name]:
        start, end = f"<!-- {table.__name__} -->\n", f"\n<!-- /{table.__name__} -->"
        before, _, rest = text.partition(start)
        content, _, after = rest.partition(end)
        assert content
        (copy / name).write_text(f"{before}{start}| 99.99 % |\nmore{end}{after}", encoding="utf-8")
        assert filled(name, copy) == text


def test_nothing_but_the_places_changes(project: Path) -> None:
    text = f"| before |\n\n{document(tables.sweep)}\n<!-- other -->\nkept\n<!-- /other -->\n"
    found = fill(text, project, WORDS, [tables.sweep])
    content = tables.sweep(project, WORDS)
    assert found == text.replace("<!-- sweep -->\n", f"<!-- sweep -->\n{content}\n")


def test_a_text_with_backslashes_is_taken_as_it_is(project: Path) -> None:
    def backslashes(*_: object) -> str:
        return r"\1 \g<0> \\"

    assert r"\1 \g<0> \\" in fill(document(backslashes), project, WORDS, [backslashes])


@pytest.mark.parametrize("text", ["# Nothing", "<!-- sweep -->", "<!-- /sweep -->\n<!-- sweep -->\n"])
def test_a_document_without_a_place_is_refused(project: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"sweep: expected a place <!-- sweep -->\. Got none\. Add it to the document"):
        fill(text, project, WORDS, [tables.sweep])


def test_the_command_writes_every_document(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(copy)
    for name, parts in DOCUMENTS.items():
        (copy / name).write_text(document(*parts), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tables"])
    tables.main()
    for name in DOCUMENTS:
        assert (copy / name).read_text(encoding="utf-8") == (project / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_a_place_for_each_of_its_tables(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    places = [table.__name__ for table in DOCUMENTS[name]]
    assert Counter(re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE)) == Counter(places)
    for place in places:
        match = re.search(rf"^<!-- {place} -->\n(.*?)^<!-- /{place} -->$", text, re.MULTILINE | re.DOTALL)
        assert match, place
        assert match[1].strip(), place


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert link.startswith("https://") or target.exists(), link
        if anchor and target.suffix == ".md" and target.exists():
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z0-9-]+)", text)
    for block in code_blocks(text):
        named += re.findall(r"^(?:\$ )?make ([a-z0-9-]+)", block, re.MULTILINE)
    assert set(named) <= make_targets()
    assert set(re.findall(r"make study NAME=([a-z0-9-]+)", text)) <= {*STUDIES}


def test_the_targets_that_pages_name_are_found_at_all() -> None:
    assert {"repro", "test-all"} <= make_targets()
    assert "no-such" not in make_targets()
    assert any("`make study NAME=" in page.read_text(encoding="utf-8") for page in PAGES)


def commands(text: str) -> list[str]:
    """The command lines of all code blocks, without their comments."""
    lines = [line for block in code_blocks(text) for line in block.splitlines()]
    shown = [line for line in lines if re.match(r"\$ |(make|git|dvc|python|source) ", line)]
    return [line.partition(" # ")[0].strip() for line in shown]


@pytest.mark.parametrize("pattern", [r"^## ", r"^```\w*$", r"^\|---", r"^<!-- .+ -->$"])
def test_both_readmes_are_built_alike(pattern: str) -> None:
    english, vietnamese = (re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE) for page in READMES)
    assert english == vietnamese
    assert english


@pytest.mark.parametrize("pattern", [r"\]\([^)#]+\)", r"`[a-zA-Z0-9_./:=-]+`", r"`make [a-z-]+`", r"\d+\.\d\d+ %"])
def test_both_readmes_name_the_same_files_and_figures(pattern: str) -> None:
    english, vietnamese = (Counter(re.findall(pattern, page.read_text(encoding="utf-8"))) for page in READMES)
    for own in ("](README.vi.md)", "](README.md)"):  # each links to the other
        del english[own], vietnamese[own]
    assert set(english) == set(vietnamese)
    assert english


def test_both_readmes_have_the_same_commands() -> None:
    english, vietnamese = (commands(page.read_text(encoding="utf-8")) for page in READMES)
    assert english == vietnamese
    assert len(english) > 5


@pytest.mark.parametrize("page", READMES, ids=page_name)
def test_a_readme_names_every_room_and_stage(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    rooms = {path.parent.name for path in [*(ROOT / "digits").glob("*/__init__.py"), *ROOT.glob("*/__init__.py")]}
    assert len(rooms) == 10
    for room in rooms:
        assert re.search(rf"\b{room}/ ", text), room
    for stage in (ROOT / "stages").glob("[a-z]*.py"):
        assert f"(stages/{stage.name})" in text, stage.name


@pytest.mark.parametrize("page", READMES, ids=page_name)
def test_a_readme_leads_to_every_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for other in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{other.name}" in text, other.name
