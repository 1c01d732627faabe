"""An earlier export in a layer of a container image, on overlayfs."""

import errno
import os
from pathlib import Path

import pytest

from digits.apps.export import make_movable
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError
from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import ROOT

OVERLAY = "mkdir -p u w m && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m && cd m && "
REPLACE = (
    "from pathlib import Path; from digits.apps.export import make_movable; "
    "from dvcproof.runtime.files import replacing; out = Path('export'); {}"
    "room = replacing(out, results=False, folders=True); new, = room.__enter__(); new.mkdir(); "
    "(new / 'new').touch(); room.__exit__(None, None, None)"
)


def write_export(folder: Path) -> Path:
    (folder / "export" / "saved_model").mkdir(parents=True)
    (folder / "export" / "saved_model" / "old").write_text("old", encoding="utf-8")
    return folder / "export"


@pytest.mark.parametrize("kind", ["movable", "of a layer"])
def test_an_earlier_export_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A symlink to a folder stays unchanged."""
    out, rename = write_export(tmp_path), os.rename

    def refuse(source: str | Path, target: str | Path) -> None:
        if Path(source) == out and kind == "of a layer":
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    make_movable(out)
    assert (out / "saved_model" / "old").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    with replacing(out, results=False, folders=True) as (new,):
        new.mkdir()
    assert list(out.iterdir()) == []
    (tmp_path / "link").symlink_to(out)
    make_movable(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_mount_is_refused_and_keeps_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_export(tmp_path)

    def refuse(source: str | Path, _: str | Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(source))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(InputError, match=r"this is a mount, which cannot be replaced\. Name a folder in it: `--out "):
        make_movable(out)
    assert (out / "saved_model" / "old").exists()


@pytest.mark.skipif(not has_namespaces(), reason="only in a mount namespace can there be layers")
@pytest.mark.parametrize(("call", "status"), [("make_movable(out); ", 0), ("", 1)])
def test_a_real_layer(tmp_path: Path, call: str, status: int) -> None:
    """The control shows that a folder of a layer cannot be renamed."""
    write_export(tmp_path / "l")
    command = f'{OVERLAY} python -c "{REPLACE.format(call)}"'
    result = in_namespace(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    if "mount:" in result.stderr:
        pytest.skip("no overlayfs here")
    assert (result.returncode, "cross-device" in result.stderr) == (status, bool(status)), result.stderr
