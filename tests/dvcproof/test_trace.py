"""dvcproof.trace: what a stage reads and writes undeclared is found by name; the mended stage is silent."""

# One line for each stage.
# ruff: noqa: E501

import shutil
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from dvcproof import cut, strace
from dvcproof.findings import Finding, Report
from dvcproof.judge import source
from dvcproof.patch import patched
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from dvcproof.trace import trace
from tests.support.project import commit, run_ok

# DVC's own: its library of prefix trees changes.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

needs_strace = pytest.mark.skipif(bool(strace.obstacle()), reason=strace.obstacle())

FILES = {
    "i.txt": "abc\n",
    "lookup.csv": "k,v\n",
    "unused.csv": "1\n",
    "notes.txt": "mine\n",
    "once.txt": "once\n",
    "data/real.csv": "1,2\n",
    "sub/.gitkeep": "",
    "my données>1.csv": "3\n",
    "helper.py": "def f(text):\n    return text.upper()\n",
    ".gitignore": "/ignored.txt\n__pycache__/\n",
    "params.yaml": "used: 1\nhidden: 2\nidle: 3\nsome:\n  kept: 4\n  lost: 5\n",
    "conf.toml": "[train]\nlr = 0.1\nseed = 3\n",
    "conf.json": '{"a": {"b": 1}, "c": 2}',
    "conf.py": "LR = 0.1\n\n\nclass Net:\n    depth = 4\n    width = 5\n",
    **{f"p{number}.txt": f"{number}\n" for number in range(1, 6)},
    "module.py": "from helper import f\nopen('module.txt', 'w').write(f(open('i.txt').read()))\n",
    "map.py": "import mmap, sys\nwith open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as content:\n"
    "    if sys.argv[3:]:\n        content[0:1] = b'X'\n    open(sys.argv[2], 'wb').write(content[:])\n",
    "net.py": "import sys, urllib.request as u\nopen(sys.argv[2], 'wb').write(u.urlopen(sys.argv[1]).read())\n",
    "own.py": "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\n"
    "t = threading.Thread(target=lambda: s.accept()[0].sendall(b'x'))\nt.start()\n"
    "c = socket.create_connection(s.getsockname())\nopen('own.txt', 'wb').write(c.recv(1))\nt.join()\n",
    "service.py": "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('docker.sock')\ns.listen()\n"
    "c = socket.socket(socket.AF_UNIX)\nc.connect('docker.sock')\nos.unlink('docker.sock')\n"
    "open('service.txt', 'w').write('x')\n",
    "optional.py": "try:\n    x = open('optional.txt').read()\nexcept FileNotFoundError:\n    x = ''\n"
    "open('optional_out.txt', 'w').write(x + open('i.txt').read())\n",
    "keep.py": "import os\nold = open('keep.txt').read() if os.path.exists('keep.txt') else ''\n"
    "open('keep.txt', 'w').write(old + 'x')\n",
    "par.py": "import yaml\np = yaml.safe_load(open('params.yaml'))\nopen('par.txt', 'w').write(f'{p[\"used\"]}{p[\"hidden\"]}')\n",
    "soft.py": "import sys, yaml\np = yaml.safe_load(open('params.yaml'))\n"
    'open(sys.argv[1], \'w\').write(f\'{p["some"]["kept"]}{p["some"].get("lost", 0)}\')\n',
    "forms.py": "import conf, json, tomllib\nt = tomllib.load(open('conf.toml', 'rb'))['train']\n"
    "j = json.load(open('conf.json'))\nopen('forms.txt', 'w').write(f'{t[\"lr\"]}{t[\"seed\"]}{j[\"a\"]}{conf.Net.depth}')\n",
    "newer.py": "import ctypes, struct\nlib = ctypes.CDLL(None, use_errno=True)\n"
    "fd = lib.syscall(437, -100, b'lookup.csv', struct.pack('QQQ', 0, 0, 0), 24)\n"
    "import os\nopen('newer.txt', 'w').write(str(len(os.read(fd, 99)) if fd >= 0 else ctypes.get_errno()))\n",
    "pool.py": "import multiprocessing as m\n"
    "def f(n):\n    return open(f'p{n}.txt').read()\n"
    "if __name__ == '__main__':\n    with m.Pool(2) as pool, m.Manager() as manager:\n"
    "        manager.dict()['a'] = 1\n        open('pool.txt', 'w').write(''.join(pool.map(f, [1, 2])))\n",
    "script.sh": "#!/bin/sh\ncat p1.txt > script.txt\ncat none.txt\nx=$(command -v nothing)\n"
    "[ -f none ] || echo 1 >> script.txt\nwhile read -r line; do echo $line; done < p1.txt >> script.txt\n",
    "threads.py": "import os, subprocess, threading\n"
    "def work(n):\n    subprocess.run(['cp', f'p{n}.txt', f'threads{n}.txt'], check=True)\n"
    "ts = [threading.Thread(target=work, args=(n,)) for n in (1, 2)]\n[t.start() for t in ts]\n[t.join() for t in ts]\n",
}


class Case(NamedTuple):
    """A stage, and what is to be found of it: rule, level, and a part of the message."""

    stage: str
    found: tuple[tuple[str, str, str], ...] = ()


#: With a defect, and mended (`…_ok`, and those without a defect): PORT and OUTSIDE are filled in.
CASES = {
    "data": Case("{cmd: cat i.txt lookup.csv > data.txt, deps: [i.txt], outs: [data.txt]}",
                 (("DP201", "error", "undeclared input lookup.csv"),)),
    "data_ok": Case("{cmd: cat i.txt lookup.csv > data_ok.txt, deps: [i.txt, lookup.csv], outs: [data_ok.txt]}"),
    "module": Case("{cmd: python module.py, deps: [i.txt, module.py], outs: [module.txt]}",
                   (("DP201", "error", "undeclared input helper.py"),)),
    "link": Case("{cmd: cat link.csv > link.txt, outs: [link.txt]}",
                 (("DP201", "error", "undeclared input data/real.csv, through link.csv"),)),
    "link_ok": Case("{cmd: cat link.csv > link_ok.txt, deps: [link.csv], outs: [link_ok.txt]}"),
    "folder": Case("{cmd: cat tree/sub/real.csv tree/a.txt > folder.txt, deps: [tree], outs: [folder.txt]}",
                   (("DP201", "error", "undeclared input data/real.csv, through tree/sub/real.csv"),)),
    "folder_ok": Case("{cmd: cat tree/sub/real.csv tree/a.txt > f2.txt, deps: [tree, data/real.csv], outs: [f2.txt]}"),
    "letters": Case("{cmd: cat my*.csv > letters.txt, outs: [letters.txt]}",
                    (("DP201", "error", "undeclared input my données>1.csv"),)),
    "letters_ok": Case("{cmd: cat my*.csv > letters_ok.txt, deps: ['my données>1.csv'], outs: [letters_ok.txt]}"),
    "away": Case("{cmd: cat OUTSIDE > away.txt, outs: [away.txt]}", (("DP207", "error", "it reads OUTSIDE"),)),
    "away_ok": Case("{cmd: cat OUTSIDE > away_ok.txt, deps: [OUTSIDE], outs: [away_ok.txt]}"),
    "home": Case("{cmd: 'cat ~/settings > home.txt; cp home.txt ~/written', outs: [home.txt]}",
                 (("DP207", "warning", "settings (the home folder)"), ("DP208", "warning", "home/written, outside"))),
    "network": Case("{cmd: 'python net.py http://127.0.0.1:PORT/ net.txt', deps: [net.py], outs: [net.txt]}",
                    (("DP206", "error", "it uses the network: 127.0.0.1:PORT"),)),
    "network_own": Case("{cmd: python own.py, deps: [own.py], outs: [own.txt]}"),
    "service": Case("{cmd: python service.py, deps: [service.py], outs: [service.txt]}",
                    (("DP213", "warning", "docker.sock"),)),
    "new": Case("{cmd: 'cp i.txt new.txt && cp i.txt extra.txt', deps: [i.txt], outs: [new.txt]}",
                (("DP202", "error", "undeclared output extra.txt"),)),
    "hidden": Case("{cmd: 'cp i.txt hidden.txt && cp i.txt ignored.txt', deps: [i.txt], outs: [hidden.txt]}",
                   (("DP202", "error", "undeclared output ignored.txt, which Git ignores"),)),
    "over": Case("{cmd: 'cp i.txt over.txt && cp i.txt notes.txt', deps: [i.txt], outs: [over.txt]}",
                 (("DP202", "error", "it overwrites notes.txt, which is in Git"),)),
    "lose": Case("{cmd: 'cp i.txt lose.txt && rm once.txt', deps: [i.txt], outs: [lose.txt]}",
                 (("DP202", "error", "it removes once.txt, which is in Git"),)),
    "writes_ok": Case("{cmd: 'cp i.txt t && mv t w.txt && mkdir d1 && cp i.txt d1/x && mv d1 d2 && cat d2/x && rm -r d2', "
                      "deps: [i.txt], outs: [w.txt]}"),
    "idle": Case("{cmd: cp i.txt idle.txt, deps: [i.txt, unused.csv], outs: [idle.txt]}",
                 (("DP203", "warning", "it declares unused.csv, and never reads it"),)),
    "other": Case("{cmd: cat w.txt i.txt > other.txt, deps: [i.txt, data_ok.txt], outs: [other.txt]}",
                  (("DP203", "warning", "data_ok.txt"),
                   ("DP204", "error", "it reads w.txt, which stage 'writes_ok' makes, without declaring it"))),
    "append": Case("{cmd: 'cp w.txt append.txt && echo >> w.txt', deps: [i.txt, w.txt, idle.txt], outs: [append.txt]}",
                   (("DP203", "warning", "i.txt"), ("DP203", "warning", "idle.txt"),
                    ("DP205", "error", "it changes its own input w.txt"))),
    "touch": Case("{cmd: 'cp link_ok.txt touch.txt && touch idle.txt', deps: [link_ok.txt, other.txt], outs: [touch.txt]}",
                  (("DP203", "warning", "other.txt"),
                   ("DP204", "error", "it writes idle.txt, which stage 'idle' makes"))),
    "map": Case("{cmd: 'python map.py p5.txt map.txt change', deps: [map.py, p5.txt], outs: [map.txt]}",
                (("DP205", "error", "it changes its own input p5.txt"),)),
    "map_ok": Case("{cmd: python map.py p4.txt map_ok.txt, deps: [map.py, p4.txt], outs: [map_ok.txt]}"),
    "list": Case("{cmd: 'cat p1.txt missing.txt > list.txt; cat i.txt > /dev/null', deps: [i.txt, p1.txt], outs: [list.txt]}",
                 (("DP209", "warning", "failed with 1, and the stage went on: cat p1.txt missing.txt"),
                  ("DP214", "note", "it would read missing.txt"))),
    "pipe": Case("{cmd: cat < none.txt | sort > pipe.txt, deps: [i.txt], outs: [pipe.txt]}",
                 (("DP203", "warning", "i.txt"), ("DP209", "warning", "reading none.txt"), ("DP214", "note", "none.txt"))),
    "unknown": Case("{cmd: 'nosuchprogram; cp i.txt unknown.txt', deps: [i.txt], outs: [unknown.txt]}",
                    (("DP209", "warning", "nosuchprogram"),)),
    "list_ok": Case("{cmd: 'grep zzz i.txt > list_ok.txt; yes | head -1 >> list_ok.txt', deps: [i.txt], outs: [list_ok.txt]}"),
    "optional": Case("{cmd: python optional.py, deps: [i.txt, optional.py], outs: [optional_out.txt]}",
                     (("DP214", "note", "it would read optional.txt"),)),
    "keep": Case("{cmd: python keep.py, deps: [keep.py], outs: [keep.txt: {persist: true}]}",
                 (("DP212", "error", "it reads its own output keep.txt, as an earlier run left it"),)),
    "grow": Case("{cmd: cat i.txt >> grow.txt, deps: [i.txt], outs: [grow.txt: {persist: true}]}",
                 (("DP212", "error", "it reads its own output grow.txt, as an earlier run left it"),)),
    "par": Case("{cmd: python par.py, deps: [par.py], params: [used, idle], outs: [par.txt]}",
                (("DP210", "error", "the parameter hidden of params.yaml"),
                 ("DP211", "warning", "the parameter idle of params.yaml"))),
    "soft": Case("{cmd: python soft.py soft.txt, deps: [soft.py], params: [some.kept], outs: [soft.txt]}",
                 (("DP210", "error", "the parameter some.lost of params.yaml"),)),
    "whole": Case("{cmd: 'sort params.yaml > /dev/null; python soft.py whole.txt', deps: [soft.py], "
                  "params: [some], outs: [whole.txt]}"),
    "forms": Case("{cmd: python forms.py, deps: [forms.py], params: [conf.toml: [train.lr], conf.json: [a.b, c], "
                  "conf.py: [Net.depth, LR]], outs: [forms.txt]}",
                  (("DP210", "error", "the parameter train.seed of conf.toml"),
                   ("DP211", "warning", "the parameter c of conf.json"),
                   ("DP211", "warning", "the parameter LR of conf.py"))),
    "template": Case("{cmd: 'echo ${used} > template.txt', params: [used], outs: [template.txt]}"),
    "cd": Case("{cmd: 'cd sub && cat ../lookup.csv > ../cd.txt', outs: [cd.txt]}",
               (("DP201", "error", "undeclared input lookup.csv"),)),
    "git": Case("{cmd: git rev-parse HEAD > git.txt, outs: [git.txt]}",
                (("DP201", "warning", "it reads Git's own files"),)),
    "pool": Case("{cmd: python pool.py, deps: [pool.py, p1.txt, p2.txt], outs: [pool.txt]}"),
    "tools": Case("{cmd: 'f=$(mktemp) && cp p1.txt $f && sort $f | tee t1.txt > t2.txt && rm $f && tar cf t.tar p1.txt && "
                  "tar xOf t.tar > t3.txt && rm t.tar && sed -i s/1/2/ t3.txt', deps: [p1.txt], outs: [t1.txt, t2.txt, t3.txt]}"),
    "script": Case("{cmd: ./script.sh, deps: [p1.txt, script.sh], outs: [script.txt]}",
                   (("DP209", "warning", "cat none.txt"), ("DP214", "note", "none.txt"))),
    "commands": Case("{cmd: [cat i.txt > c1.txt, cat c1.txt lookup.csv > c2.txt], deps: [i.txt], outs: [c1.txt, c2.txt]}",
                     (("DP201", "error", "undeclared input lookup.csv"),)),
    "parallel": Case("{cmd: 'for n in 1 2 3; do cat p$n.txt > par$n.txt & done; wait', deps: [p1.txt], "
                     "outs: [par1.txt, par2.txt, par3.txt]}",
                     (("DP201", "error", "p2.txt"), ("DP201", "error", "p3.txt"))),
    "newer": Case("{cmd: python newer.py, deps: [newer.py], outs: [newer.txt]}",
                  (("DP201", "error", "undeclared input lookup.csv"),)),
    "threads": Case("{cmd: python threads.py, deps: [threads.py, p1.txt], outs: [threads1.txt, threads2.txt]}",
                    (("DP201", "error", "undeclared input p2.txt"),)),
    "allowed": Case("{cmd: 'cat lookup.csv > allowed.txt; cp i.txt state.txt', deps: [i.txt], outs: [allowed.txt], "
                    "meta: {dvcproof: {reads: [{path: lookup.csv, reason: never changes}], "
                    "writes: [{path: state.txt, reason: of the machine}]}}}",
                    (("DP201", "note", "undeclared input lookup.csv (allowed: never changes)"),
                     ("DP202", "note", "undeclared output state.txt (allowed: of the machine)"))),
}  # fmt: skip


def write(folder: Path, files: dict[str, str], stages: str) -> Path:
    """Make a project of files and a dvc.yaml, and commit it."""
    folder.mkdir()
    for name, text in (files | {"dvc.yaml": stages}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=folder)
    run_ok("dvc", "init", "--quiet", "--force", cwd=folder)
    for name in [name for name in files if name.startswith(".dvc/")]:
        (folder / name).write_text(files[name], encoding="utf-8")
    return folder


class Traced(NamedTuple):
    """A project with all cases, and the report of it."""

    folder: Path
    report: Report
    words: dict[str, str]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, server: int) -> Traced:
    """All cases, run once."""
    base = tmp_path_factory.mktemp("traced")
    (base / "home").mkdir()
    (base / "home" / "settings").write_text("x", encoding="utf-8")
    (base / "away.csv").write_text("1\n", encoding="utf-8")
    words = {"PORT": str(server), "OUTSIDE": str(base / "away.csv")}
    stages = "stages:\n" + "".join(f"  {name}: {case.stage}\n" for name, case in CASES.items())
    folder = write(base / "project", FILES, filled(stages, words))
    (folder / "link.csv").symlink_to("data/real.csv")
    (folder / "script.sh").chmod(0o755)
    (folder / "tree").mkdir()
    (folder / "tree" / "a.txt").write_text("a\n", encoding="utf-8")
    (folder / "tree" / "sub").symlink_to("../data")
    commit(folder, "start")
    with pytest.MonkeyPatch.context() as patch, Project.open(folder) as project:
        patch.setenv("HOME", str(base / "home"))
        return Traced(folder, trace(project), words)


def filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(name, value)
    return text


@needs_strace
@pytest.mark.parametrize("name", CASES)
def test_of_each_stage_that_is_found_which_is_there_and_nothing_else(traced: Traced, name: str) -> None:
    findings = [item for item in traced.report.findings if item.stage == name]
    wanted = [(rule, level, filled(text, traced.words)) for rule, level, text in CASES[name].found]
    assert [(item.rule, item.level) for item in findings] == [(rule, level) for rule, level, _ in wanted], findings
    for item, (_, _, text) in zip(findings, wanted, strict=True):
        assert text in item.message
        assert (item.file, item.line) == ("dvc.yaml", 2 + list(CASES).index(name))
        assert item.fix or item.level == "note"


@needs_strace
@pytest.mark.slow
def test_a_link_into_the_cache_is_taken_for_the_output(tmp_path: Path) -> None:
    stages = """
    one: {cmd: cat i.txt > one.txt, deps: [i.txt], outs: [one.txt]}
    two: {cmd: cat one.txt i.txt > two.txt, deps: [i.txt], outs: [two.txt]}
    three: {cmd: cat one.txt > three.txt, deps: [one.txt, two.txt], outs: [three.txt]}
    """
    files = {".dvc/config": "[cache]\n    type = symlink\n"}
    assert sorted(lines(traced_alone(tmp_path / "project", stages, files))) == [
        "DP203 three: it declares two.txt, and never reads it",
        "DP204 two: it reads one.txt, which stage 'one' makes, without declaring it",
    ]


@needs_strace
def test_the_report_says_what_it_cannot_see(traced: Traced) -> None:
    assert "not seen: environment variables" in traced.report.summary
    assert traced.report.unknown == ["service: it uses what cannot be watched"]
    assert traced.report.status() == 1
    assert {row[0] for row in traced.report.table[1:]} == set(CASES)


def test_the_lines_of_strace_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text(
        textwrap.dedent(r"""
        10 execve("/bin/sh", ["/bin/sh", "-c", "x"], 0x7f /* 3 vars */) = 0
        10 chdir("/w/in") = 0
        10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f <unfinished ...>
        11 open("early", O_RDONLY) = 3</w/in/early>
        11 chdir("..") = 0
        10 <... clone resumed>) = 11
        11 open("after", O_RDONLY <unfinished ...>
        10 openat(AT_FDCWD</w/in>, "a\76b \303\251\n\"\t.txt", O_RDONLY) = 3</w/in/a\76b \303\251\n\"\t.txt>
        11 <... open resumed>) = -1 ENOENT (No such file or directory)
        10 openat(5</w/d>, "x) = 3", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4</w/d/x) = 3>
        10 openat2(AT_FDCWD</w/in>, "new", {flags=O_WRONLY|O_CREAT|O_EXCL, mode=0644, resolve=0}, 24) = 4</w/in/new>
        10 creat("made", 0644) = 4</w/in/made>
        10 rename("new", "newer") = 0
        10 linkat(AT_FDCWD</w/in>, "old", 5</w/d>, "second", 0) = 0
        10 symlinkat("target", 5</w/d>, "third") = 0
        10 openat(AT_FDCWD</w/in>, "gone", O_RDONLY) = 3</w/in/gone>(deleted)
        10 connect(3<socket:[1]>, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "::2", &sin6_addr)}, 28) = 0
        10 connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/docker.sock"}, 110) = 0
        10 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, stack=0x7f}, 88 => {parent_tid=[12]}, 88) = 12
        12 chdir("/w/thread") = 0
        10 open("follows", O_RDONLY) = 3</w/thread/follows>
        10 getdents64(3</w/list>, 0x55 /* 3 entries */, 32768) = 72
        11 execve("/usr/bin/cat", ["cat", "after"], 0x7f) = 0
        11 +++ exited with 1 +++
        12 +++ exited with 0 +++
        10 +++ exited with 0 +++
        """).lstrip().replace("\\\\", "\\"),
        encoding="utf-8",
    )  # fmt: skip
    seen = strace.Seen()
    strace.Reader(seen, "/w").read(tmp_path / "calls")
    names = {name for read in seen.names.values() for name in read}
    assert {"/w/in/early", '/w/in/a>b é\n"\t.txt', "/w/in/gone", "/w/thread/follows"} <= set(seen.reads)
    assert {"/w/d/x) = 3", "/w/in/new", "/w/in/newer", "/w/in/made", "/w/d/second", "/w/d/third"} == set(seen.writes)
    assert names >= {"/w/in/early", "/w/thread/follows"}
    assert set(seen.absent) == {"/w/after"}, "the child's own folder"
    assert seen.removed.keys() == {"/w/in/new"}
    assert seen.network == {("::2", 443)}
    assert seen.sockets == {"/run/docker.sock"}
    assert seen.listed == {"/w/list"}
    assert seen.failures == [("cat after", "1")]
    assert (seen.statuses, seen.strange) == ([0], 0)


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
        ("p.json", '{"a": {"b": 1}, "c": 2}', ["a.b", "c"], "c", '{\n  "a": {\n    "b": 1\n  }\n}'),
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
    assert cut.without(path, lambda one: one == drop) == left
    assert cut.without(path, lambda _: False).split() == text.split() or name == "p.json"


STAGES = """# A comment.
stages:
  one: # of one
    cmd: cat i.txt > one.txt
    deps:
      - i.txt # first
      - unused.csv # why
      # Below.

    outs:
      - one.txt # last

  many:
    foreach: [a, b]
    do:
      cmd: cat lookup.csv > ${item}.txt
      outs: ["${item}.txt"]
"""


def test_a_patch_edits_only_what_findings_ask_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", {"i.txt": "1\n", "lookup.csv": "2\n", "unused.csv": "3\n"}, STAGES)
    changes = {
        "one": ["deps + lookup.csv", "deps - unused.csv", "outs + extra.txt:tracked", "params + params.yaml:a"],
        "many@a": ["deps + lookup.csv", "deps + a.csv"],
        "many@b": ["deps + lookup.csv"],
    }
    report = Report("trace")
    for stage, wanted in changes.items():
        report.findings += [Finding("DP201", "error", "x", stage=stage, file="dvc.yaml", change=one) for one in wanted]
    with Project.open(folder) as project:
        text = patched(project, report)
    assert text.startswith(
        "# dvc.yaml: many@a: deps + a.csv: not all stages of 'many' need it; edit the template by hand\n"
    )
    (tmp_path / "patch").write_text(text, encoding="utf-8")
    run_ok("git", "apply", str(tmp_path / "patch"), cwd=folder)
    mended = (folder / "dvc.yaml").read_text(encoding="utf-8")
    assert "  one: # of one\n" in mended
    assert "      - i.txt # first\n      - lookup.csv\n      # Below.\n\n    outs:\n" in mended
    assert (
        "      - one.txt # last\n      - extra.txt:\n          cache: false\n    params:\n      - a\n\n  many:"
        in mended
    )
    assert "unused.csv" not in mended
    with Project.open(folder) as project:
        stages = {stage.address: stage for stage in project.stages}
        assert [item.path for item in stages["many@b"].deps] == ["lookup.csv"]
        assert [(item.path, item.cached) for item in stages["one"].outs] == [("one.txt", True), ("extra.txt", False)]
        assert list(stages["one"].params.values()) == [("a",)]
        assert patched(project, Report("trace")) == ""


def traced_alone(folder: Path, graph: str, files: dict[str, str] | None = None, **options: object) -> Report:
    """The report of a new project."""
    write(folder, FILES | (files or {}), f"stages:\n{textwrap.indent(textwrap.dedent(graph), '  ')}")
    commit(folder, "start")
    with Project.open(folder) as project:
        return trace(project, **options)  # type: ignore[arg-type]


def lines(report: Report) -> list[str]:
    return [f"{item.rule} {item.stage}: {item.message}" for item in report.findings]


BOXES = """
data: {cmd: cat i.txt lookup.csv > data.txt, deps: [i.txt], outs: [data.txt]}
module: {cmd: python module.py, deps: [i.txt, module.py], outs: [module.txt]}
own: {cmd: 'cat i.txt > own.txt; echo x >> i.txt; cp own.txt left.txt', deps: [i.txt], outs: [own.txt]}
spare: {cmd: cat p1.txt > spare.txt, deps: [p1.txt, unused.csv], outs: [spare.txt]}
par: {cmd: python par.py, deps: [par.py], params: [used, idle], outs: [par.txt]}
good: {cmd: python par.py && mv par.txt good.txt, deps: [par.py], params: [used, hidden], outs: [good.txt]}
"""


def test_a_box_finds_what_is_undeclared_without_strace(tmp_path: Path) -> None:
    boxes = BOXES.replace(
        "good: {cmd: python par.py && mv par.txt good.txt, deps: [par.py]",
        "good: {cmd: python good.py, deps: [good.py]",
    )
    files = {"good.py": FILES["par.py"].replace("par.txt", "good.txt")}
    report = traced_alone(tmp_path / "project", boxes, files, how="box")
    assert lines(report) == [
        "DP201 data: undeclared input lookup.csv",
        "DP201 module: undeclared input helper.py",
        "DP202 own: undeclared output left.txt",
        "DP205 own: it changes its own input i.txt",
        "DP203 spare: it declares unused.csv, and gives the same without it",
        "DP210 par: it reads the parameter hidden of params.yaml and does not declare it",
        "DP211 par: it declares the parameter idle of params.yaml, and gives the same without it",
    ]
    assert not report.unknown
    assert "not seen: what is read only if it is there" in report.summary


def test_without_strace_boxes_are_used_and_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strace, "obstacle", lambda: "strace is not installed")
    stage = "data: {cmd: cat i.txt lookup.csv > data.txt, deps: [i.txt], outs: [data.txt]}"
    report = traced_alone(tmp_path / "project", stage)
    assert lines(report) == ["DP201 data: undeclared input lookup.csv"]
    assert report.unknown[0].startswith("strace is not installed, so that each stage ran with only what it declares")
    with Project.open(tmp_path / "project") as project:
        report = trace(project, how="strace")
    assert (report.unknown, report.status()) == (["strace is not installed. Use `--how box`"], 3)


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
        with pytest.raises(InputError, match="stage three: expected one of one, two"):
            trace(project, stages=["three"])
    assert lines(second) == lines(first)
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "kept").glob("strace/logs/*/stage")]
    assert logs == ["two"]


@needs_strace
def test_other_paths_to_a_file_many_files_and_the_network_if_it_is_allowed(tmp_path: Path, server: int) -> None:
    place = tmp_path / "project"
    stages = f"""
    far: {{cmd: cat {place}/lookup.csv {place}/i.txt > far.txt, deps: [i.txt], outs: [far.txt]}}
    many: {{cmd: 'cat images/*.txt images/deep/a.txt > many.txt', outs: [many.txt]}}
    net: {{cmd: 'python net.py http://127.0.0.1:{server}/ net.txt', deps: [net.py], outs: [net.txt]}}
    """
    files = {f"images/{number}.txt": "x\n" for number in range(6)} | {"images/deep/a.txt": "x\n"}
    report = traced_alone(place, stages, files, allow_network=True)
    many = [item for item in report.findings if item.stage == "many" and item.level == "error"]
    assert [(item.path, item.change, len(item.evidence.splitlines())) for item in many] == [
        ("images", "deps + images", 7)
    ]
    assert [line for line in lines(report) if "many:" not in line] == [
        "DP201 far: undeclared input lookup.csv",
        f"DP207 far: it reads 2 files of the project's folder, not of the clone, as {place}/lookup.csv",
        f"DP206 net: it uses the network: 127.0.0.1:{server} (allowed: --allow-network)",
    ]


@needs_strace
@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    report = traced_alone(tmp_path / "project", "slow: {cmd: sleep 600, outs: [slow.txt]}", timeout=6)
    assert report.unknown[-1].startswith("the stages took longer than 6 s")
    assert report.status() == 3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("{reads: [{path: i.txt}]}", "a path and a reason"),
        ("{writes: [i.txt]}", "a path and a reason"),
        ("{network: true}", "a reason"),
    ],
)
def test_an_exception_without_a_reason_is_refused(tmp_path: Path, settings: str, match: str) -> None:
    stage = f"one: {{cmd: 'true', deps: [i.txt], meta: {{dvcproof: {settings}}}}}"
    with pytest.raises(InputError, match=match):
        traced_alone(tmp_path / "project", stage)


@needs_strace
@pytest.mark.slow
def test_after_the_patch_nothing_is_left_that_a_patch_could_mend(traced: Traced, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(traced.folder, folder, symlinks=True)
    with Project.open(folder) as project:
        (tmp_path / "patch").write_text(patched(project, traced.report), encoding="utf-8")
    run_ok("git", "apply", str(tmp_path / "patch"), cwd=folder)
    commit(folder, "mended")
    with Project.open(folder) as project:
        report = trace(project)
    left = {(item.rule, item.stage) for item in report.findings if item.change}
    assert not left
    assert {"DP201", "DP202", "DP203", "DP204", "DP210", "DP211"}.isdisjoint(
        item.rule for item in report.findings if item.level == "error" and item.stage not in ("lose", "touch")
    )
