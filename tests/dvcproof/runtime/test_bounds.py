"""Bounds on files from outside: special files, and files that are too large, too deep or inconsistent."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.faults.files import Special, write
from digits.apps import predict, report
from digits.apps.repro import require_params
from digits.data.dataset import read_dataset
from digits.data.npy import NpyFile
from digits.scoring.history import read_history
from digits.sources.source import open_source
from dvcproof.lockfile import read_lock
from dvcproof.messages import LONGEST, shortened
from dvcproof.runtime import bounds
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.files import file_hash, read_csv, write_json
from dvcproof.runtime.program import InputError
from tests.support.project import recipe_params


def opened(path: Path) -> None:
    with open_source(str(path)):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "params.yaml": read_mapping,
    "dvc.lock": read_lock,
    "data set": opened,
    "array": lambda path: NpyFile(path, dtype="uint8", shape=(None,)),
    "description": read_dataset,
    "history": read_history,
    "CSV": read_csv,
    "record": lambda path: report.platform(path, ""),
    "picture": lambda path: predict.read(str(path)),
    "hash": file_hash,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", [Special.PIPE, Special.SOCKET, Special.DEVICE])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, reader: str, kind: Special) -> None:
    path = write(tmp_path / "case", {"file": kind}) / "file"
    with pytest.raises(
        InputError, match=rf"file: expected a regular file\. Got a {kind.value}\. Copy its content into"
    ):
        READERS[reader](path)


def test_a_pipe_anywhere_in_the_source_is_refused_before_dvc(tmp_path: Path) -> None:
    write(tmp_path / "data", {"deep/er/pipe": Special.PIPE, "file": b"", "dangling": Special.LOOP})
    params = recipe_params(tmp_path, load={"source": str(tmp_path / "data")})
    with pytest.raises(InputError, match=r"deep/er/pipe: expected a regular file\. Got a pipe\."):
        require_params(params)
    (tmp_path / "data" / "deep" / "er" / "pipe").unlink()
    require_params(params)


def test_a_file_larger_than_its_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert bounds.read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(InputError, match=r"a: expected at most 4 bytes\. Got a larger file\."):
        bounds.read_bytes(tmp_path / "a", 4)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 10**5, "nested too deeply"),
        ("NaN", "NaN is not a finite number"),
        ("[1e999]", "1e999 is not a finite number"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_is_damaged_is_a_value_error(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        bounds.parse_json(text)
    assert bounds.parse_json('{"a": [1, 2.5]}') == {"a": [1, 2.5]}


def test_a_csv_of_too_many_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 20_001)
    with pytest.raises(InputError, match="more than 20000 rows"):
        read_csv(tmp_path / "a.csv")


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 21, "more than 20 levels"),
        (LAUGHS, "more than 10000 values"),
        ("{" + ", ".join(f"a{k}: 1" for k in range(5000)) + "}", "more than 10000 values"),
        ("a: &a {b: *a}", "'a' within itself"),
    ],
)
def test_yaml_that_is_too_much_is_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        bounds.require_small_yaml(text)


def zipped(members: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number:060}", b"")
    return file.getvalue()


def test_an_archive_with_a_long_directory_is_refused(tmp_path: Path) -> None:
    with ExitStack() as files:
        (tmp_path / "a.zip").write_bytes(zipped(9000))
        assert len(bounds.open_archive(tmp_path / "a.zip", files).namelist()) == 9000
        (tmp_path / "b.zip").write_bytes(zipped(11000))
        with pytest.raises(ValueError, match="a header or list of files that is too long"):
            bounds.open_archive(tmp_path / "b.zip", files)


@pytest.mark.parametrize("cut", [100, 280, 300, 500])
def test_an_archive_without_its_beginning_is_said_to_be_cut(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(3)[cut:])
    with ExitStack() as files, pytest.raises((ValueError, zipfile.BadZipFile)) as error:
        bounds.open_archive(tmp_path / "a.zip", files).read(f"{0:060}")
    assert "Errno" not in str(error.value)


def test_a_long_message_is_cut_in_its_middle() -> None:
    assert shortened("a" * LONGEST) == "a" * LONGEST
    line = str(InputError("what", expected="a" * 5000, received="first " + "b" * 5000 + " last.", hint="Next."))
    assert len(line) < 2 * LONGEST + 100
    assert line.startswith("what: expected aaa")
    assert "Got first bbb" in line
    assert line.endswith("bbb last. Next.")


def test_no_number_that_is_none_is_written(tmp_path: Path) -> None:
    assert json.loads("NaN") != 0  # Python reads NaN, which JSON does not have
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
