"""The documents: tables are filled from committed files, all named things exist, and the two READMEs agree.

These tests do not depend on the committed results. `make check` checks that the tables show the committed results.
"""

import re
import shutil
import sys
from collections import Counter
from email.message import Message
from pathlib import Path

import pytest

from bench import tables
from bench.__main__ import studies
from bench.tables import TIMES, filled, in_units
from dvcproof.runtime.program import InputError
from tests.support.project import ROOT
from tests.support.results import RESULTS, document, edit_result, places

READMES = (ROOT / "README.md", ROOT / "docs" / "README.vi.md")
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = {path: names for path, names in places().items() if path.name != "data.md"}  # its table does not show results


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """Return a copy of the built project, with the other files that tables read."""
    return shutil.copytree(built, tmp_path / "project", ignore=shutil.ignore_patterns(".git", ".dvc", "data", "stages"))


def made(project: Path, name: str, language: str = "en") -> str:
    return str(getattr(tables.tables(project, language), name)())


def rows(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


HASH, D0, C0, C7 = "`{}…`".format, "d0" * 8, "c0" * 8, "c7" * 8
ROWS: list[tuple[str, int, list[str]]] = [
    ("results", 1, ["`convnet`, 7 epochs", "-", "99.39 % ± 0.07 (n = 2)"]),
    ("processors", 0, ["natively, on the machine that wrote this table", "x86-64", "2", HASH(D0), HASH(C0)]),
    ("processors", 1, ["natively, held to AVX2", "x86-64", "2"]),
    ("processors", 2, ["Intel Icelake-Server (emulated, with an L1 data cache of 48 KiB)", "x86-64", "4"]),
    ("processors", 3, ["arm64 (emulated)", "arm64", "2"]),
    ("whole", 0, ["Test 9000 (test-1-2-cores)", "avx2", "0", "99.34 %", ""]),
    ("whole", 1, ["Test 9000 (test-2-2-cores)", "avx2", "0", "99.34 %", HASH(C7)]),
    ("convnet", 0, ["Keras's example, 15 epochs", "2", "98.17 %", "0.07 %", "98.12 %", "98.22 %", "31 s"]),
    ("convnet", 2, ["this convnet, `convnet.epochs` = 20", "2", "99.50 %", "0.07 %", "99.45 %", "99.55 %", "63 s"]),
    ("convnet", 3, ["this convnet, `convnet.epochs` = 90, `convnet.shift` = 0.5", "2", "99.51 %"]),
    ("convnet", 4, ["the same, 11 views of each test image", "2", "99.60 %"]),
    ("sweep", 0, ["16", "93.22 %", "0.01 %", "the best"]),
    ("sweep", 1, ["8", "81.13 %", "0.01 %", "worse"]),
    ("convnet_sweep", 0, ["0.15", "93.22 %"]),
    # `speed_results` makes up the times t, 2t and 4t for each part, with t = 1 + its number / 10; the median is 2t.
    ("speed", 0, ["cold `dvc repro`, four stages; baseline: the recipe as one script", "5.60 s", "6.80 s", "0.82"]),
    ("waits", 0, ["`make setup`, caches empty; `pip install` of the same lock", "2.0 s", "1.0 s", "2.00"]),
    ("waits", 4, ["`make test` in a fresh clone, with its packages installed", "2.0 s", "", ""]),
    ("workers", 1, ["16 units, batches of 128, 4 shards", "2", "19 s", "2.0 GB", f"`{'a0' * 8}…`"]),
    ("workers", 2, ["2048 units, batches of 128, 4 shards", "1", "10 s", "", f"`{'a1' * 8}…`"]),
    ("large", 3, ["`evaluate`", "120 s", "80 s", "4.0 GB", "160 s", "100 s", "2.0 GB"]),
    ("pictures", 0, ["**all kinds of one digit**", "5", "4", "1", "0", "10", "8", "2", "0"]),
    ("pictures", 2, ["no digit", "5", "4", "1", "0", "", "", "", ""]),
    ("faults", 0, ["kill", "9", "7", "2", "0", "0", "2 of 3 stuck or wrong"]),
    ("prover", 0, ["input", "a file", "check, trace", "A [DP1]; B [DP2]"]),
    ("prover", 1, ["input", "a size", "**not found**", "it is not seen"]),
    ("prover", 2, ["output", "a line", "**not found**", "expected: C [DP3]"]),
    ("clean_projects", 0, ["smallest", "ok", "needs Git", "ok", "E [DP5]", ""]),
    ("scaling_images", 1, ["10^5", "392 MB"]),
    ("scaling_workers", 0, ["1", "", ""]),
]


@pytest.mark.fast(1)
def test_a_row_of_a_table(built: Path) -> None:
    for name, number, expected in ROWS:
        assert rows(made(built, name))[number][: len(expected)] == expected, name


SAID = {
    "convnet": "with a mean of at least 99.0 %: 22 s, with `convnet.epochs` = 7. Measured on: Test 9000",
    "large": f"by a control group. Every output has the same bytes: the model's SHA-256 is {HASH('a0' * 8)}. M",
    "scaling_workers": "2 workers on one machine exchanged 2.0 GB, and took 10 s more than one, which is 0.21 GB/s.",
    "speed": "](../bench/results/speed/test-1-2-cores.png)\n\n| median of 3 interleaved rounds |",
    "faults": "61 s for all. Measured on: Test 9000",
    "prover": "of 2 kinds, are found with their causes (33.3 %). False alarms: 1 in these projects",
    "dependencies": "| `tensorflow` | runtime | Apache Software License |",
    "summary": "worst mistakes: metrics/worst.png ",
}


def test_what_stands_beside_a_table(built: Path) -> None:
    for name, text in SAID.items():
        assert text in made(built, name), name


def test_the_table_of_seeds_shows_the_committed_run(built: Path) -> None:
    for row, published in zip(rows(made(built, "study_of_seeds")), ["97.85 %", "98.9 %", "", ""], strict=True):
        run, mean, std, least, greatest = (float(cell.removesuffix(" %")) for cell in row[1:6])
        assert (run, std, row[6]) == (mean, 1.58, published)  # in the made-up study the committed run is the mean
        assert (mean - least, greatest - mean) == pytest.approx((2, 2), abs=0.011)


def test_the_readmes_table_is_of_the_studies(project: Path) -> None:
    """Only the dense network has a published accuracy."""
    assert rows(made(project, "results"))[0][3] == "published: 97.85 %"
    edit_result(project, "seeds", lambda study: study["params"].update(train={"model": "tiny"}, tiny={"epochs": 9}))
    edit_result(project, "convnet", lambda study: study["params"]["convnet"].update(epochs=20))
    found = rows(made(project, "results"))
    assert (found[0][0], found[0][3]) == ("`tiny`, 9 epochs", "")
    assert found[1][:3] == ["`convnet`, 20 epochs", "-", "99.50 % ± 0.07 (n = 2)"]


def test_rates_are_of_the_kind_of_machine_of_the_convnets_study(project: Path) -> None:
    before = made(project, "scaling_images")
    speed = project / RESULTS / "speed"
    shutil.copy(speed / "test-1-2-cores.json", speed / "another.json")  # first in the order of names
    edit_result(project, "speed/another", lambda study: study["times"]["arrays hash"]["wall"].update(median=99))
    assert made(project, "scaling_images") == before
    (speed / "test-1-2-cores.json").unlink()
    assert made(project, "scaling_images") != before


def test_the_least_time_is_that_of_the_quickest_that_is_good_enough(project: Path) -> None:
    edit_result(project, "convnet", lambda study: study["contestants"]["7"]["test_accuracy"].update(mean=0.9899))
    assert "99.0 %: 63 s, with `convnet.epochs` = 20." in made(project, "convnet")
    edit_result(project, "convnet", lambda study: study["contestants"]["20"]["test_accuracy"].update(mean=0.98))
    assert "shortest training" not in made(project, "convnet")


def test_times_have_two_digits() -> None:
    expected = {0: "", 4e-6: "4.0 µs", 0.0099: "9.9 ms", 61: "1.0 min", 86400 * 12.3: "12 d"}
    assert {seconds: in_units(seconds, TIMES) for seconds in expected} == expected


def test_the_command_writes_only_into_the_places(project: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for path, names in MADE.items():
        kept = document(*names) + "\n<!-- other -->\nkept\n<!-- /other -->\n"
        path.write_text(kept.replace(" -->\n<!-- /", " -->\n| 99.99 % |\nmore\n<!-- /", 1), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tables"])
    tables.main()
    for path in MADE:
        expected = (built / path).read_text(encoding="utf-8") + "\n<!-- other -->\nkept\n<!-- /other -->\n"
        assert path.read_text(encoding="utf-8") == expected == filled(path, project)


def test_a_damaged_result_is_one_line(project: Path) -> None:
    for content in ("", '{"contestants": 3}'):
        (project / RESULTS / "convnet.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="is damaged"):
            filled(project / "docs" / "convnet.md", project)


def test_each_table_has_its_place_in_the_documents() -> None:
    named = Counter(name for names in MADE.values() for name in names)
    macros = re.findall(
        r"^{% macro (\w+)\(", (ROOT / "bench" / "tables.md.j2").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named == Counter({*macros} - {"measured_on", "spread", "counts"}) + Counter(["summary", "results"])
    for path in places():
        text = (ROOT / path).read_text(encoding="utf-8")
        for match in re.finditer(r"^<!-- (\w+) -->$", text, re.MULTILINE):
            assert re.match(rf"\n\S[^\0]*?\n<!-- /{match[1]} -->\n", text[match.end() :]), match[1]


def test_a_licence_is_what_the_package_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bsd, topic = ("Classifier", "License :: OSI Approved :: BSD License"), ("Classifier", "Topic :: Software")
    for fields, expected in (
        ([("License-Expression", "MIT OR Zlib"), bsd], "MIT OR Zlib"),
        ([bsd, ("License", "BSD")], "BSD License"),
        ([("License", "MIT\nCopyright (c)"), topic], "MIT"),
    ):
        message = Message()
        for name, value in fields:
            message[name] = value
        monkeypatch.setattr(tables, "metadata", lambda _, message=message: message)
        assert tables.licence("a-package") == expected
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^no-such-package: it is not installed, or names no licence\. Run"):
        tables.licence("no-such-package")


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the broken links of a page."""
    found = []
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        exists = link.startswith("https://") or target.exists()
        if exists and anchor and target.suffix == ".md":
            exists = anchor in anchors(target.read_text(encoding="utf-8"))
        found += [] if exists else [link]
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path, tmp_path: Path) -> None:
    assert broken_links(page) == []
    (tmp_path / "page.md").write_text("# A title\n\n[a](#a-title) [b](#b) [c](no.md)", encoding="utf-8")
    assert broken_links(tmp_path / "page.md") == ["#b", "no.md"]


def unknown_targets(text: str) -> set[str]:
    """Return the targets of make and the studies that a page names and that do not exist."""
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`make ([a-z0-9-]+)", text)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        named += re.findall(r"^(?:\$ )?make ([a-z0-9-]+)", block, re.MULTILINE)
    return {*named} - {*targets} | {*re.findall(r"make study NAME=([a-z0-9-]+)", text)} - {*studies()}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_exist(page: Path) -> None:
    assert unknown_targets(page.read_text(encoding="utf-8")) == set()
    wrong = "`make repro`, `make no-such`\n```sh\n$ make nothing  # more\n```\n`make study NAME=none`"
    assert unknown_targets(wrong) == {"no-such", "nothing", "none"}


#: Patterns of the parts that both READMEs must share, and whether their order must be the same.
ALIKE = {
    "headings": r"^## ",
    "blocks": r"^```\w*$",
    "tables": r"^\|---",
    "places": r"^<!-- .+ -->$",
    "links": r"\]\([^)#]+\)",
    "names": r"`[a-zA-Z0-9_./:=-]+`",
    "targets": r"`make [a-z-]+`",
    "figures": r"\d+\.\d\d+ %",
    "commands": r"^(?:\$ )?(?:make|git|dvc|python|source) [^#\n]*\b",
}


def from_root(page: Path) -> str:
    """Return the text of a page with its links changed to be relative to the top folder."""
    text = page.read_text(encoding="utf-8")
    return text if page.parent == ROOT else re.sub(r"\]\((?=\w+[.-])", "](docs/", text).replace("](../", "](")


@pytest.mark.parametrize("name", ALIKE)
def test_both_readmes_are_alike(name: str) -> None:
    english, vietnamese = (re.findall(ALIKE[name], from_root(page), re.MULTILINE) for page in READMES)
    assert english
    if name in ("links", "names", "targets", "figures"):  # their order may differ, and each README links to the other
        own = {"](docs/README.vi.md)", "](README.md)"}
        assert {*english} - own == {*vietnamese} - own
    else:
        assert english == vietnamese


@pytest.mark.parametrize("page", READMES, ids=page_name)
def test_a_readme_names_every_room_and_page(page: Path) -> None:
    text = from_root(page)
    rooms = {path.parent.name for path in [*(ROOT / "digits").glob("*/__init__.py"), *ROOT.glob("*/__init__.py")]}
    assert len(rooms) == 10
    for room in rooms:
        assert re.search(rf"\b{room}/ ", text), room
    for path in (*(ROOT / "stages").glob("[a-z]*.py"), *{*(ROOT / "docs").glob("*.md")} - {*READMES}):
        assert f"({path.relative_to(ROOT)}" in text, path.name
