"""dvcproof.trace, in addition to test_cases.py: its options, its limits and its parts."""

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.prover import make, read_list, surroundings
from dvcproof import box, cut, strace
from dvcproof.findings import HOLDS, Finding, Report
from dvcproof.judge import source
from dvcproof.patch import edited, patched
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from dvcproof.trace import trace
from tests.support.project import commit, run_ok

# A warning from inside DVC: its library of prefix trees changes.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

needs_strace = pytest.mark.skipif(bool(strace.obstacle()), reason=strace.obstacle())

FILES = {
    **{f"{name}.txt": f"{name}\n" for name in ("i", "p1")},
    **{f"{name}.csv": "1\n" for name in ("lookup", "unused")},
    "params.yaml": "used: 1\nhidden: 2\nidle: 3\n",
    "helper.py": "def f(text):\n    return text.upper()\n",
    "module.py": "from helper import f\nopen('module.txt', 'w').write(f(open('i.txt').read()))\n",
    "par.py": "import sys, yaml\np = yaml.safe_load(open('params.yaml'))\n"
    "open(sys.argv[1], 'w').write(f'{p[\"used\"]}{p[\"hidden\"]}')\n",
    "call.py": "import subprocess\nopen('call.txt', 'w').write(str(subprocess.call(['sh', '-c', 'exit 3'])))\n",
    "net.py": "import sys, urllib.request as u\nopen('net.txt', 'wb').write(u.urlopen(sys.argv[1]).read())\n",
}


def write(folder: Path, files: dict[str, str], stages: str) -> Path:
    """Make a project of these files and a dvc.yaml, and commit it."""
    folder.mkdir()
    for name, text in (files | {"dvc.yaml": stages}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=folder)
    run_ok("dvc", "init", "--quiet", "--force", cwd=folder)
    for name in [name for name in files if name.startswith(".dvc/")]:
        (folder / name).write_text(files[name], encoding="utf-8")
    return folder


def test_the_lines_of_strace_are_put_together(tmp_path: Path) -> None:
    calls = {
        10: r"""
        1 execve("/bin/sh", ["/bin/sh", "-c", "x"], 0x7f /* 3 vars */) = 0
        2 chdir("/w/in") = 0
        3 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 11
        6 openat(AT_FDCWD</w/in>, "a\76b \303\251\n\"\t.txt", O_RDONLY) = 3</w/in/a\76b \303\251\n\"\t.txt>
        6 openat(5</w/d>, "x) = 3", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4</w/d/x) = 3>
        6 openat2(AT_FDCWD</w/in>, "new", {flags=O_WRONLY|O_CREAT|O_EXCL, mode=0644, resolve=0}, 24) = 4</w/in/new>
        6 creat("made", 0644) = 4</w/in/made>
        7 rename("new", "newer") = 0
        7 linkat(AT_FDCWD</w/in>, "old", 5</w/d>, "second", 0) = 0
        7 symlinkat("target", 5</w/d>, "third") = 0
        7 openat(AT_FDCWD</w/in>, "gone", O_RDONLY) = 3</w/in/gone>(deleted)
        7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "::2", &sin6_addr)}, 28) = 0
        7 connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/docker.sock"}, 110) = 0
        8 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, stack=0x7f}, 88 => {parent_tid=[12]}, 88) = 12
        9.5 open("follows", O_RDONLY) = 3</w/thread/follows>
        9.5 getdents64(3</w/list>, 0x55 /* 3 entries */, 32768) = 72
        12 +++ exited with 0 +++
        """,
        11: r"""
        4 open("early", O_RDONLY) = 3</w/in/early>
        4 chdir("..") = 0
        5 open("after", O_RDONLY) = -1 ENOENT (No such file or directory)
        10 execve("/usr/bin/cat", ["cat", "after"], 0x7f) = 0
        11 +++ exited with 1 +++
        """,
        12: """
        9 chdir("/w/thread") = 0
        11 +++ exited with 0 +++
        """,
    }
    for pid, text in calls.items():
        (tmp_path / f"calls.{pid}").write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    seen = strace.Seen()
    strace.Reader(seen, "/w").read(tmp_path)
    names = {name for read in seen.names.values() for name in read}
    assert {"/w/in/early", '/w/in/a>b é\n"\t.txt', "/w/in/gone", "/w/thread/follows"} <= set(seen.reads)
    assert {"/w/d/x) = 3", "/w/in/new", "/w/in/newer", "/w/in/made", "/w/d/second", "/w/d/third"} == set(seen.writes)
    assert names >= {"/w/in/early", "/w/thread/follows"}
    assert set(seen.absent) == {"/w/after"}, "the child's own folder"
    assert seen.removed.keys() == {"/w/in/new"}
    assert seen.network == {("::2", 443)}
    assert seen.sockets == {"/run/docker.sock"}
    assert seen.listed == {"/w/list"}
    assert seen.failures == [("cat after", "1", True)]
    assert seen.strange == 0


def test_bytecode_is_its_source() -> None:
    assert source("/w/pkg/__pycache__/helper.cpython-313.opt-1.pyc") == "/w/pkg/helper.py"
    assert source("/w/pkg/helper.pyc") == "/w/pkg/helper.pyc"


def test_a_moved_folder_takes_its_files_along() -> None:
    seen = strace.Seen()
    seen.write("/w/a/x", 1)
    seen.move("/w/a", "/w/b", 2)
    assert seen.writes.keys() == {"/w/a/x", "/w/b/x", "/w/b"}
    assert not seen.reads
    seen.move("/w/other", "/w/mine", 3)
    assert set(seen.reads) == {"/w/other"}


@pytest.mark.parametrize(
    ("name", "text", "known", "drop", "left"),
    [
        ("p.yaml", "a: 1 # why\nb: {c: [1, 2], d: 'x'}\n", ["a", "b.c", "b.d"], "b.c", "a: 1 # why\nb: {d: 'x'}\n"),
        ("p.yaml", "a:\n  b: 1\nc: 2\n", ["a.b", "c"], "a.b", "c: 2\n"),
        ("p.json", '{"a": {"b": 1}, "c": 2}', ["a.b", "c"], "c", '{"a": {"b": 1}}'),
        ("p.toml", "[a]\nb = 1e-3\nc = 2\n", ["a.b", "a.c"], "a.c", "[a]\nb = 1e-3\n"),
        (
            "p.py",
            "import os\nA: int = 1\nB = [\n    2,\n]\n\nclass N:\n    d = 3\n",
            ["A", "B", "N.d"],
            "N.d",
            "import os\nA: int = 1\nB = [\n    2,\n]\n\nclass N:\n    pass\n",
        ),
    ],
)
def test_a_name_is_left_out_of_a_parameter_file(  # noqa: PLR0917
    tmp_path: Path, name: str, text: str, known: list[str], drop: str, left: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert cut.names(path) == known
    cut.keep_only(path, known)
    assert path.read_text(encoding="utf-8") == text
    cut.keep_only(path, {*known} - {drop})
    assert path.read_text(encoding="utf-8") == left


FORMS = """stages:
  a: {cmd: x, deps: [i.txt, b.txt], params: [p, other.yaml: [u, v]]}
  b:
    cmd: |
      foo

    # of params
    params:
    - other.yaml:
      - u
    - whole.toml:

    outs:
    - o.txt:
        cache: false # why
"""


@pytest.mark.parametrize(
    ("stage", "change", "old", "new"),
    [
        ("a", "deps + a: b", "b.txt]", 'b.txt, "a: b"]'),
        ("a", "deps - i.txt", "[i.txt, ", "["),
        ("a", "deps - b.txt", ", b.txt]", "]"),
        ("a", "outs + o.txt:tracked", "[u, v]]}", "[u, v]], outs: [o.txt: {cache: false}]}"),
        ("a", "params - params.yaml:p", "[p, ", "["),
        ("a", "params - other.yaml:u", "[u, v]", "[v]"),
        ("a", "params + new.toml:k.l", "[u, v]]", "[u, v], new.toml: [k.l]]"),
        ("b", "params + other.yaml:w", "      - u\n", "      - u\n      - w\n"),
        ("b", "params - other.yaml:u", "    - other.yaml:\n      - u\n", ""),
        ("b", "params + whole.toml:k", "", ""),
        ("b", "params + params.yaml:q", "whole.toml:\n", "whole.toml:\n    - q\n"),
        ("b", "outs - o.txt", "    outs:\n    - o.txt:\n        cache: false # why\n", ""),
        ("b", "deps + i.txt", "# why\n", "# why\n    deps:\n      - i.txt\n"),
    ],
)
def test_a_change_keeps_all_else_in_its_form(stage: str, change: str, old: str, new: str) -> None:
    assert edited(FORMS, stage, change) == FORMS.replace(old, new, 1)
    with pytest.raises(LookupError):
        edited(FORMS, "b", "deps - nowhere.txt")


TEMPLATE = """  many:
    foreach: [a, b]
    do:
      cmd: cat l.csv > ${item}.txt # why
      outs: ["${item}.txt"]
"""


def test_a_patch_changes_a_template_if_all_its_stages_need_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", {}, FORMS + TEMPLATE)
    changes = [
        ("a", "deps - i.txt"),
        ("many@a", "deps + l.csv"),
        ("many@a", "deps + a.csv"),
        ("many@b", "deps + l.csv"),
    ]
    report = Report("trace")
    report.findings = [Finding("DP201", "error", "x", stage=one, file="dvc.yaml", change=two) for one, two in changes]
    with Project.open(folder) as project:
        text = patched(project, report)
        assert patched(project, Report("trace")) == ""
    hint = "not all stages of 'many' need it; edit the template by hand"
    assert text.startswith(f"# dvc.yaml: many@a: deps + a.csv: {hint}\n")
    (tmp_path / "patch").write_text(text, encoding="utf-8")
    run_ok("git", "apply", str(tmp_path / "patch"), cwd=folder)
    with Project.open(folder) as project:
        deps = {stage.address: [item.path for item in stage.deps] for stage in project.stages}
    assert deps == {"a": ["b.txt"], "b": [], "many@a": ["l.csv"], "many@b": ["l.csv"]}


def traced_alone(folder: Path, graph: str, files: dict[str, str] | None = None, **options: object) -> Report:
    """Return the report on a new project."""
    write(folder, FILES | (files or {}), f"stages:\n{textwrap.indent(textwrap.dedent(graph), '  ')}")
    commit(folder, "start")
    with Project.open(folder) as project:
        return trace(project, **options)  # type: ignore[arg-type]


def lines(report: Report) -> list[str]:
    return [f"{item.rule} {item.stage}: {item.message}" for item in report.findings]


BOXES = """
data: {cmd: cat i.txt lookup.csv > data.txt, deps: [i.txt], outs: [data.txt]}
own: {cmd: 'cat i.txt > own.txt; echo x >> i.txt; cp own.txt left.txt', deps: [i.txt], outs: [own.txt]}
spare: {cmd: cat p1.txt > spare.txt, deps: [p1.txt, unused.csv], outs: [spare.txt]}
par: {cmd: python par.py par.txt, deps: [par.py], params: [used, idle], outs: [par.txt]}
good: {cmd: python par.py good.txt, deps: [par.py], params: [used, hidden], outs: [good.txt]}
"""


def test_a_box_finds_what_is_undeclared_without_strace(tmp_path: Path) -> None:
    report = traced_alone(tmp_path / "project", BOXES, how="box")
    assert lines(report) == [
        "DP201 data: it fails with only its declared inputs",
        "DP202 own: undeclared output left.txt",
        "DP205 own: it changes its own input i.txt",
        "DP203 spare: it declares unused.csv, and never reads it",
        "DP210 par: it reads the parameter hidden of params.yaml and does not declare it",
        "DP211 par: it declares the parameter idle of params.yaml, and gives the same outputs without it",
    ]
    assert not report.unknown
    assert "not seen: files that are read only if they exist" in report.summary


def test_without_strace_boxes_are_used_and_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strace, "obstacle", lambda: "strace is not installed")
    stage = "data: {cmd: cat i.txt lookup.csv > data.txt, deps: [i.txt], outs: [data.txt]}"
    report = traced_alone(tmp_path / "project", stage)
    assert lines(report) == ["DP201 data: it fails with only its declared inputs"]
    assert "lookup.csv" in report.findings[0].evidence
    assert report.unknown[0].startswith("strace is not installed, so that each stage ran with only what it declares")
    with Project.open(tmp_path / "project") as project:
        report = trace(project, how="strace")
    assert (report.unknown, report.status()) == (["strace is not installed. Use `--how box`"], 3)


def test_parameters_that_there_is_no_time_to_try_are_counted() -> None:
    times = iter([True, True, False])
    slow = SimpleNamespace(has_time=lambda: next(times), same=lambda _: False)
    whole = {("p", name) for name in "abcd"}
    assert box.find_missing(cast("Any", slow), whole, {("p", "d")}) == ([("p", "a"), ("p", "b")], 1)


@needs_strace
def test_a_stage_that_fails_is_told_with_its_words_and_what_it_looked_for(tmp_path: Path) -> None:
    stages = """
    one: {cmd: cat absent.txt > one.txt, outs: [one.txt]}
    two: {cmd: cat one.txt > two.txt, deps: [one.txt], outs: [two.txt]}
    """
    report = traced_alone(tmp_path / "project", stages)
    assert lines(report) == [
        "DP703 one: it fails in a clean clone",
        "DP214 one: it would read absent.txt, if that were there",
    ]
    assert "absent.txt: No such file" in report.findings[0].evidence
    assert [text.split(":")[0] for text in report.unknown] == ["two did not run"]
    assert report.status() == 4


@needs_strace
@pytest.mark.slow
def test_only_named_stages_run_if_the_cache_has_what_they_need(tmp_path: Path) -> None:
    stages = """
    one: {cmd: cat i.txt lookup.csv > one.txt, deps: [i.txt], outs: [one.txt]}
    two: {cmd: cat one.txt p1.txt > two.txt, deps: [one.txt], outs: [two.txt]}
    """
    folder = tmp_path / "project"
    first = traced_alone(folder, stages, stages=["two"])
    assert lines(first) == ["DP201 two: undeclared input p1.txt"]
    run_ok("dvc", "repro", "--quiet", cwd=folder)
    commit(folder, "run")
    with Project.open(folder) as project:
        second = trace(project, stages=["two"], keep=tmp_path / "kept")
        with pytest.raises(InputError, match="stage three: there is no stage of this name"):
            trace(project, stages=["three"])
    assert lines(second) == lines(first)
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "kept").glob("strace/*/stage")]
    assert logs == ["two"]


@needs_strace
def test_other_paths_to_a_file_and_exceptions(tmp_path: Path) -> None:
    place = tmp_path / "project"
    excused = "reads: [{path: lookup.csv, reason: never changes}], writes: [{path: state.txt, reason: of the machine}]"
    with surroundings(tmp_path / "around") as words:
        stages = f"""
        far: {{cmd: cat {place}/lookup.csv {place}/i.txt > far.txt, deps: [i.txt], outs: [far.txt]}}
        net: {{cmd: 'python net.py http://127.0.0.1:{words["@PORT@"]}/', deps: [net.py], outs: [net.txt]}}
        excused: {{cmd: 'cat lookup.csv > e.txt; cp i.txt state.txt', deps: [i.txt], outs: [e.txt],
          meta: {{dvcproof: {{{excused}}}}}}}
        template: {{cmd: 'echo ${{used}} > template.txt', params: [used], outs: [template.txt]}}
        whole: {{cmd: sort params.yaml > whole.txt, params: [used, hidden, idle], outs: [whole.txt]}}
        call: {{cmd: python call.py, deps: [call.py], outs: [call.txt]}}
        """
        report = traced_alone(place, stages, allow_network=True)
    assert lines(report) == [
        "DP201 far: undeclared input lookup.csv",
        f"DP207 far: it reads 2 files from the project's folder instead of the clone, such as {place}/lookup.csv",
        f"DP206 net: it uses the network: 127.0.0.1:{words['@PORT@']} (allowed: --allow-network)",
        "DP201 excused: undeclared input lookup.csv (allowed: never changes)",
        "DP202 excused: undeclared output state.txt (allowed: of the machine)",
        "DP209 call: a command in the stage failed with 3, and the stage went on: sh -c exit 3",
    ]
    assert [one.level for one in report.findings] == ["error", "warning", "note", "note", "note", "note"]
    assert "not seen: environment variables" in report.summary


@needs_strace
@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    report = traced_alone(tmp_path / "project", "slow: {cmd: sleep 600, outs: [slow.txt]}", timeout=6)
    assert report.unknown[-1].startswith("the stages took longer than 6 s")
    assert report.status() == 3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("{reads: [{path: i.txt}]}", r"reads\.0\.reason: Field required\. Write `reads: "),
        ("{writes: [i.txt]}", r"writes\.0: "),
        ("{network: true}", "network: "),
        ("{varys: {a.txt: it is the date}}", "varys: Extra inputs"),
    ],
)
def test_an_exception_without_a_reason_is_refused(tmp_path: Path, settings: str, match: str) -> None:
    stage = f"one: {{cmd: 'true', deps: [i.txt], meta: {{dvcproof: {settings}}}}}"
    with pytest.raises(InputError, match=match):
        traced_alone(tmp_path / "project", stage)


@needs_strace
@pytest.mark.slow
def test_after_the_patch_nothing_is_left_that_a_patch_could_mend(tmp_path: Path) -> None:
    names = ("data-file", "many-files", "new-file", "never-read", "read", "undeclared-and-unused", "toml-json-python")
    with surroundings(tmp_path / "around") as words:
        folder = make([case for case in read_list()[0] if case.name in names], tmp_path / "project", words, runs=False)
        with Project.open(folder) as project:
            before = trace(project)
            (tmp_path / "patch").write_text(patched(project, before), encoding="utf-8")
        run_ok("git", "apply", str(tmp_path / "patch"), cwd=folder)
        commit(folder, "mended")
        with Project.open(folder) as project:
            after = trace(project)
    assert {"DP201", "DP202", "DP203", "DP204", "DP210", "DP211"} == {one.rule for one in before.findings if one.change}
    assert after.status() == HOLDS, after.findings
    assert not [one for one in after.findings if one.change]
