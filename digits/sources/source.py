"""Every form in which a data set of images and labels can come, opened as a training and a test set.

What a source is, its bytes say, not its name. Nothing is unpickled, and images are never held whole in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from digits.sources import arrays, parquet, pictures, tables
from digits.sources.download import download
from digits.sources.kinds import CONTAINERS, EMPTY, UNKNOWN, Foreign
from digits.sources.parts import Found, Source, to_source
from digits.sources.stream import listed, wrong
from digits.sources.tree import Tree, open_tree, unpacked
from dvcproof.runtime.bounds import require_regular
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Each looks for a form among the files of a source: the first that finds its own reads it.
FORMS: tuple[Callable[[Tree, ExitStack], Found | None], ...] = (
    lambda tree, _: arrays.find(tree),
    parquet.find,
    tables.find,
    lambda tree, _: pictures.find(tree),
)

_EXPECTED = "a data set: .npz, .npy, IDX, CSV or Parquet files, or a folder of pictures for each class"


@contextmanager
def open_source(source: str, test_size: int = 0) -> Iterator[Source]:
    """Open a data set.

    Args:
        source: path of a file, an archive or a folder, or https://host/file#sha256=<64 hex digits>.
        test_size: images that become the test set, of a source that has none.

    Yields:
        Its two sets.

    Raises:
        InputError: the source is missing, damaged, incomplete or of another form.
    """
    with ExitStack() as files:
        path = download(source) if "://" in source else Path(source)
        see_file(path)
        if not path.exists():
            raise InputError(
                f"data set '{source}'",
                expected="a file, a folder, or https://...#sha256=...",
                received="no such file or folder",
                hint="Set `load.source` in params.yaml to a data set that exists.",
            )
        yield to_source(str(path), _find(open_tree(path, files), files), test_size)


def _find(tree: Tree, files: ExitStack) -> Found:
    inside = tree
    while True:
        for form in FORMS:
            if found := form(inside, files):
                return found
        if inside is not tree or not tree.of_kind(*CONTAINERS):
            raise _explain(inside)
        inside = unpacked(tree, files)


def _explain(tree: Tree) -> InputError:
    """What to say of a source in which no form finds anything: what the first file is that is known to be foreign."""
    foreign = [file for file in tree.looked_at if isinstance(file.kind, Foreign)]
    known = [file for file in foreign if file.kind not in (EMPTY, UNKNOWN)] or foreign
    if known:
        return max(known, key=lambda file: file.size).refused(_EXPECTED)
    found = listed((file.path for file in tree.files), nothing="an empty folder or archive")
    return wrong(tree.name, _EXPECTED, found, hint="Set `load.source` in params.yaml to the data set itself.")


def require_readable(source: str) -> None:
    """Refuse a local data set with a pipe, a socket or a device in it: DVC would wait for it before `load` runs.

    Raises:
        InputError: there is one.
    """
    path = Path(source)
    if "://" not in source and path.exists():
        for file in [path, *(path.rglob("*") if path.is_dir() else ())]:
            if file.exists():
                require_regular(file)
