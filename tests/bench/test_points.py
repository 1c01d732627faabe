"""Points are the same from one process, from several processes and from the workers of a Dask cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from bench import points
from bench.points import compute
from dvcproof.runtime.program import InputError
from tests.support.project import recipe_params


def square(number: int, folder: Path) -> dict[str, Any]:
    """Compute a point from the data."""
    return {"number": number, "square": number**2, "data": (folder / "prepared" / "data.txt").read_text()}


def make(folder: Path) -> Path:
    """Make the data of the toy study."""
    (folder / "prepared").mkdir()
    (folder / "prepared" / "data.txt").write_text("data")
    return folder


def fail(number: int, _: Path) -> int:
    """Raise InputError, as a point that cannot be computed."""
    raise InputError(f"point {number}", expected="luck", received="none", hint="Try another.")


def die(_: Path) -> int:
    """End the worker that computes this point."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the working directory, with the files that a point depends on."""
    path = tmp_path_factory.mktemp("project")
    recipe_params(path)
    (path / "requirements.lock").write_text("numpy==1\n")
    (path / "digits").mkdir()
    (path / "digits" / "code.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@pytest.fixture(scope="module")
def cluster(project: Path) -> Iterator[str]:
    """Yield the address of a scheduler with two workers, each a process, started in the project."""
    options: Any = {"threads_per_worker": 1, "dashboard_address": ":0", "local_directory": str(project / "dask")}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(n_workers=2, **options) as found,
    ):
        yield found.scheduler_address


@pytest.fixture
def data(project: Path, tmp_path: Path) -> Path:
    assert Path.cwd() == project
    return make(tmp_path)


def test_the_results_are_the_same_and_in_order(data: Path, cluster: str) -> None:
    expected = [{"number": number, "square": number**2, "data": "data"} for number in range(7)]
    where: dict[str, Any]
    for where in ({}, {"jobs": 2}, {"scheduler": cluster}):
        assert compute(square, [(number,) for number in range(7)], data, make, name="squares", **where) == expected


@pytest.mark.slow
def test_a_point_that_kills_every_worker_ends_the_study(data: Path, cluster: str) -> None:
    with pytest.raises(InputError, match=r"the workers: they died \(KilledWorker"):
        compute(die, [()], data, make, name="deaths", scheduler=cluster)


def test_a_point_that_fails_is_one_line(data: Path, cluster: str) -> None:
    where: dict[str, Any]
    for where in ({"jobs": 2}, {"scheduler": cluster}):
        with pytest.raises(InputError, match=r"point 1: expected luck\. Got none\. Try another\."):
            compute(fail, [(1,)], data, make, name="failures", **where)


@pytest.mark.parametrize(("name", "what"), [("params.yaml", "code"), ("digits/code.py", "code"), ("data.txt", "data")])
def test_a_worker_with_other_code_or_data_refuses(
    data: Path, cluster: str, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    if what == "data":
        (data / "prepared" / name).write_text("another")
    else:
        theirs = points.code() | {name: "0" * 64}
        monkeypatch.setattr(points, "code", lambda: theirs)
    with pytest.raises(InputError, match=f"{name} on a worker: this {what} differs from that of the study"):
        compute(square, [(1,)], data, make, name="squares", scheduler=cluster)


@pytest.mark.slow
def test_no_scheduler_and_no_worker_are_one_line(data: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "DEADLINE", 1)
    monkeypatch.setattr(points, "FIRST_WORKER", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://a"):
        with pytest.raises(InputError, match=rf"--scheduler {address}: no Dask scheduler answers there"):
            compute(square, [(1,)], data, make, name="squares", scheduler=address)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", local_directory=str(project / "dask")) as empty,
        pytest.raises(InputError, match=r"it has had no worker for 1 s\. Start a scheduler and workers"),
    ):
        compute(square, [(1,)], data, make, name="squares", scheduler=empty.scheduler_address)


def test_a_worker_looks_at_its_code_before_each_point(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code may be edited while the worker runs."""
    here: dict[str, Any] = {}
    monkeypatch.setattr(points, "_HERE", here)
    shared: Any = (lambda _: "computed", make, points.code(), points._hashes(data))
    assert points._on_worker(shared, ()) == "computed"
    ((room, _),) = here.values()
    room.cleanup()
    monkeypatch.setattr(points, "code", lambda: {"a.py": "2"})
    with pytest.raises(points._WorkerError, match=r"^a\.py on a worker: this code differs from that"):
        points._on_worker(shared, ())
