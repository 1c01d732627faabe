"""Data sets as Parquet, as the Hugging Face hub keeps them: a row for each image, with its file and its label."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from digits.sources import recognize
from digits.sources.convert import MOST_TEXT_BYTES
from digits.sources.pictures import open_pictures
from digits.sources.recognize import NAMED, TEST, TRAIN, VALIDATION
from digits.sources.rows import AGAIN, MOST_IMAGES, Found, Pair, Rows, Values, held, listed, reading
from digits.sources.tree import File, Tree, without_copies
from dvcproof.runtime.program import InputError

#: Unpacked bytes of the largest group of rows: 60,000 pictures take a tenth of it.
GROUP_BYTES = 2**28

#: Rows that are read at a time, and bytes of them: one value, stored once, can be in every row.
MOST_ROWS = 1024
BATCH_BYTES = 2**26

_COLUMNS = "Keep one column of images (or one for each pixel), and one of labels called `label`."


class Opened(NamedTuple):
    """A Parquet file, and pyarrow's view of it."""

    file: File
    table: Any


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Find the Parquet files of a source, if it has any."""
    every = without_copies(tree.of_kind(recognize.PARQUET))
    if not every:
        return None
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        hint = "Run `make setup WITH=parquet`, which installs it."
        raise InputError(tree.name, "reading Parquet needs the package pyarrow", hint=hint) from None
    sets = recognize.by_split(sorted(every, key=lambda file: recognize.natural(file.path)), lambda file: file.path)
    train = sets[TRAIN] or sets[None]
    if not train or (not sets[TRAIN] and (sets[TEST] or len(train) > 1)):
        names = listed((file.path for file in every), nothing="no file")
        hint = "Call the files train-...parquet and test-...parquet."
        raise InputError(tree.name, f"it is not clear which file to train on: {names}", hint=hint)
    notes = [f"{file.name}: not used" for file in sets[VALIDATION]]
    return Found({s: _pair(s, part, files) for s, part in ((TRAIN, train), (TEST, sets[TEST])) if part}, notes)


def _pair(split: str, parts: Sequence[File], files: ExitStack) -> Pair:
    """Open a set: the rows of its files, one file after the other."""
    opened = [_open(file, files) for file in parts]
    label, image, pixels = _columns(parts[0], opened[0].table.schema_arrow)
    name = parts[0].name if len(parts) == 1 else f"{parts[0].name} and {len(parts) - 1} more"
    count = sum(one.table.metadata.num_rows for one in opened)
    if count > MOST_IMAGES:
        raise InputError(name, expected=f"at most {MOST_IMAGES} images", received=str(count), hint="Leave some out.")
    labels = [_labels(file, first, batch.column(0)) for file, first, batch in _batches(opened, [label])]
    values = np.concatenate(labels) if labels else np.empty(0, np.uint8)
    if len(values) != count:
        raise InputError(name, expected=f"{count} rows, as its metadata says", received=f"{len(values)}", hint=AGAIN)
    if not image:
        return Pair(_pixels(name, count, opened, pixels), held(f"{label} in {name}", values))
    title = f"the images of the {NAMED[split]} set in {name}"
    images = open_pictures(title, count, partial(_pictures, opened, image), files)
    return Pair(images, held(f"{label} in {name}", values))


def _open(file: File, files: ExitStack) -> Opened:
    import pyarrow.parquet as pq

    with _reading(file):
        table = files.enter_context(pq.ParquetFile(file.seekable(files), memory_map=False, pre_buffer=False))
        largest = _largest_group(table)
    if largest > GROUP_BYTES:
        expected = f"groups of rows of at most {GROUP_BYTES} bytes"
        hint = "Write it in smaller groups: `pyarrow.parquet.write_table(..., row_group_size=10000)`."
        raise InputError(file.name, expected=expected, received=f"{largest}", hint=hint)
    return Opened(file, table)


def _reading(file: File) -> AbstractContextManager[None]:
    import pyarrow

    return reading(file.name, "a Parquet file", (pyarrow.ArrowException, OSError, ValueError, KeyError))


def _largest_group(table: Any) -> int:
    """Return the unpacked bytes of the largest group of rows. Asking for a damaged column's would abort the process."""
    metadata = table.metadata
    return max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)


def _columns(file: File, schema: Any) -> tuple[str, str | None, list[str]]:
    """Return the columns of the labels, of the images, and of the pixels: either one of images or some of pixels."""
    from pyarrow import types

    images, labels, pixels = [], [], []
    for field in schema:
        kind = field.type
        files = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if files or types.is_binary(kind) or types.is_large_binary(kind):
            images.append(field.name)
        elif recognize.LABEL_COLUMN.fullmatch(field.name):
            labels.append(field.name)
        elif (types.is_integer(kind) or types.is_floating(kind)) and not recognize.NUMBER_COLUMN.fullmatch(field.name):
            pixels.append(field.name)
    if len(labels) != 1 or len(images) > 1 or not (images or math.isqrt(len(pixels)) ** 2 == len(pixels) > 0):
        names = listed(schema.names, nothing="none")
        raise InputError(file.name, f"its columns are not images and labels: {names}", hint=_COLUMNS)
    return labels[0], images[0] if images else None, pixels


def _batches(opened: Sequence[Opened], names: Sequence[str]) -> Iterator[tuple[File, int, Any]]:
    """Read some columns, some rows at a time, with the file and the number of the first row."""
    for file, table in opened:
        first, rows = 0, max(1, min(MOST_ROWS, BATCH_BYTES // max(1, _largest_group(table))))
        with _reading(file):
            for batch in table.iter_batches(rows, columns=[*names], use_threads=False):
                yield file, first, batch
                first += batch.num_rows


def _labels(file: File, first: int, column: Any) -> Values:
    """Convert labels: numbers, texts, or a dictionary of texts. A text is measured before it is copied."""
    from pyarrow import types

    if column.null_count:
        place = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(file.name, f"row {place} has no label", hint="Leave out rows without a label.")
    if types.is_integer(column.type) or types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    column = column.dictionary_decode() if types.is_dictionary(column.type) else column
    for place, value in enumerate(column):
        text = types.is_string(value.type) or types.is_large_string(value.type)
        if not text or value.as_buffer().size > MOST_TEXT_BYTES:
            received = f"a text of {value.as_buffer().size} bytes" if text else f"a value of the type {value.type}"
            expected, hint = "labels as whole numbers or short texts", "Convert the labels, and write the file again."
            raise InputError(file.name, expected=expected, received=f"{received} in row {first + place}", hint=hint)
    return np.array(column.to_pylist(), str)


def _pictures(opened: Sequence[Opened], column: str) -> Iterator[tuple[str, bytes]]:
    for file, first, batch in _batches(opened, [column]):
        for place, value in enumerate(batch.column(0)):
            content = value.as_py()
            yield (
                f"row {first + place} in {file.name}",
                (content["bytes"] if isinstance(content, dict) else content) or b"",
            )


def _pixels(name: str, count: int, opened: Sequence[Opened], columns: Sequence[str]) -> Rows:
    """Return columns of one pixel each as an array [n, pixels]."""
    schema = opened[0].table.schema_arrow
    dtype = np.result_type(*(schema.field(column).type.to_pandas_dtype() for column in columns))

    def blocks() -> Iterator[Values]:
        for _, _, batch in _batches(opened, columns):
            yield np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1).astype(dtype)

    return Rows(name, dtype, (count, len(columns)), blocks)
