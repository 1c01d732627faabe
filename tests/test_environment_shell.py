"""The shell or container of a user: `make` removes harmful variables, and sets those that DVC needs."""

import os
import pwd
from pathlib import Path

import pytest

from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import ROOT, environment, run, run_ok

#: A makefile that prints the environment of its commands.
SHOW = f"include {ROOT}/Makefile\nshow:\n\t@env\n"


def seen(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a command in the Makefile, for a user with these variables."""
    (folder / "show.mk").write_text(SHOW, encoding="utf-8")
    lines = run_ok("make", "--file", "show.mk", "show", cwd=folder, env=variables).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONINSPECT"])
def test_make_takes_out_what_misleads_python(tmp_path: Path, name: str) -> None:
    assert name not in seen(tmp_path, **{name: "1"})


def test_make_takes_out_the_variables_of_a_hook(tmp_path: Path) -> None:
    names = run_ok("git", "rev-parse", "--local-env-vars", cwd=tmp_path).split()
    assert not set(names) & seen(tmp_path, **dict.fromkeys(names, "0")).keys()


def test_make_keeps_the_rest(tmp_path: Path) -> None:
    kept = {"USER": "ada", "PYTHONDONTWRITEBYTECODE": "1", "GIT_AUTHOR_NAME": "Ada", "HTTPS_PROXY": "http://proxy"}
    assert kept.items() <= seen(tmp_path, **kept).items()


NAMELESS = (
    "echo 'passwd: files' >nsswitch && : >passwd && mount --bind passwd /etc/passwd && "
    "mount --bind nsswitch /etc/nsswitch.conf && unset USER LOGNAME LNAME USERNAME && "
)


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces(), reason="only with a mount namespace can a user lose the name")
def test_a_user_without_a_name(tmp_path: Path) -> None:
    """With `docker run --user 1000`, DVC asks for a user name, and `make` sets one."""
    (tmp_path / "status.mk").write_text(f"include {ROOT}/Makefile\nstatus:\n\t@dvc status\n", encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    run_ok("dvc", "init", "--quiet", cwd=tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', deps: [status.mk]}}\n", encoding="utf-8")
    alone = in_namespace(f"{NAMELESS} dvc status", cwd=tmp_path)
    assert alone.returncode != 0
    assert "getpwuid" in alone.stderr
    made = in_namespace(f"{NAMELESS} make --file status.mk status", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "changed deps" in made.stdout


def test_without_home_there_is_one(tmp_path: Path) -> None:
    """HOME becomes the user's home; for a user without an entry, the folder of the environment."""
    (tmp_path / "home.mk").write_text(f"include {ROOT}/Makefile\nhome:\n\t@printenv HOME\n", encoding="utf-8")
    home = run_ok("env", "--unset", "HOME", "make", "--file", "home.mk", "home", cwd=tmp_path).strip()
    assert home == pwd.getpwuid(os.getuid()).pw_dir
    if has_namespaces():
        made = in_namespace(f"{NAMELESS} unset HOME && make --file home.mk home", cwd=tmp_path)
        assert made.stdout == f"{tmp_path}/.venv\n"


def test_a_shell_that_hides_the_folder_from_python() -> None:
    """The control: with PYTHONSAFEPATH, which `make` removes, Python finds no stage."""
    words = ("python", "-m", "dvcproof.runtime.run", "--help")
    hidden = run(*words, cwd=ROOT, env=environment(PYTHONSAFEPATH="1"))
    assert "No module named 'dvcproof'" in hidden.stderr
    run_ok(*words, cwd=ROOT)
