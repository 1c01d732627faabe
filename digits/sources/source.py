"""Every form in which a data set of images and labels can come, opened as four streams.

Nothing is unpickled, nothing is held whole in memory, and what is wrong is known before anything is written.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from digits.common.bounds import require_regular
from digits.common.cli import InputError
from digits.common.inputs import see_file
from digits.data.arrays import describe, require_same_length
from digits.sources.download import download
from digits.sources.idx import open_idx
from digits.sources.npz import open_npz
from digits.sources.stream import Stream

#: Images of the largest set: its labels are read whole, and 64 million of them are small yet.
MOST_IMAGES = 2**26


@contextmanager
def open_source(source: str) -> Iterator[dict[str, Stream]]:
    """Open a data set.

    Args:
        source: path of a .npz with the names in NPZ_NAMES, path of a folder with the files in IDX_NAMES (each plain or
            with .gz), or https://host/file.npz#sha256=<64 hex digits>.

    Yields:
        A stream for each of NAMES.

    Raises:
        InputError: the source is missing, damaged, incomplete or of another form.
    """
    with ExitStack() as files:
        path = download(source) if "://" in source else Path(source)
        see_file(path)
        if not path.exists():
            raise InputError(
                f"data set '{source}'",
                expected="a .npz file, a folder of IDX files, or https://...#sha256=...",
                received="no such file or folder",
                hint="Set `load.source` in params.yaml to a data set that exists.",
            )
        yield open_idx(path, files) if path.is_dir() else open_npz(path, files)


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


def require_images(streams: dict[str, Stream]) -> None:
    """Check what the headers say: images uint8 [n, 28, 28] and labels uint8 [n], n from 1 to MOST_IMAGES.

    Raises:
        InputError: a type or shape is another, a set is empty or too large, images and labels disagree in number, or a
            file does not hold what its header says.
    """
    for name, stream in streams.items():
        form = (None, 28, 28) if name.endswith("images") else (None,)
        if stream.dtype != "uint8" or len(stream.shape) != len(form) or stream.shape[1:] != form[1:]:
            raise _wrong_form(stream, describe("uint8", form))
        if stream.shape[0] < 1:
            raise _wrong_form(stream, "at least one image")
    for split in ("train", "test"):
        images, labels = streams[f"{split}_images"], streams[f"{split}_labels"]
        require_same_length(f"{images.name} and {labels.name}", images.shape[0], labels.shape[0])
    for stream in streams.values():
        stream.require_size()
        if stream.shape[0] > MOST_IMAGES:
            raise _wrong_form(stream, f"at most {MOST_IMAGES} images")


def _wrong_form(stream: Stream, expected: str) -> InputError:
    received = describe(stream.dtype, stream.shape)
    return InputError(stream.name, expected=expected, received=received, hint="Convert the data set to this form.")
