"""Data sets as tables, a row for each image: CSV and Parquet.

A column holds the labels. The pixels have a column each, or a column of a Parquet file holds pictures, as the Hugging
Face hub keeps them.
"""

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np

from digits.sources.arrays import Found, Pair, Rows, Spool, Values, held
from digits.sources.labels import require_labels_form
from digits.sources.pictures import Album, with_progress
from digits.sources.recognize import (
    LABEL_COLUMN,
    LEAST_FIELDS,
    NAMED,
    NUMBER_COLUMN,
    PARQUET,
    TABLE,
    TEST,
    TRAIN,
    VALIDATION,
    by_split,
    natural,
)
from digits.sources.tree import AGAIN, File, Tree, listed, most_bytes, reading, without_copies
from dvcproof.runtime.program import InputError

#: Bytes of the longest line of a CSV file, and lines that are parsed at a time.
LINE_BYTES = 2**19
LINES = 256

#: Unpacked bytes of the largest group of rows of a Parquet file: 60,000 pictures take a tenth of it.
GROUP_BYTES = 2**28

#: Rows of a Parquet file that are read at a time, and bytes of them: one value, stored once, can be in every row.
MOST_ROWS = 1024
BATCH_BYTES = 2**26

_LABEL = "Call the column of the labels `label`, and leave out columns that are not pixels."
_COLUMNS = "Keep one column of images (or one for each pixel), and one of labels called `label`."


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Find the tables of a source, if it has any; `files` closes the temporary files that hold their pixels."""
    parquet = without_copies(tree.of_kind(PARQUET))
    every = parquet or without_copies(tree.of_kind(TABLE))
    if not every:
        return None
    sets = by_split(sorted(every, key=lambda file: natural(file.path)), lambda file: file.path)
    train, test = sets[TRAIN] or sets[None], sets[TEST]
    in_parts = parquet and sets[TRAIN]  # only Parquet keeps a set in several files
    if not train or (len(train) > 1 and not in_parts) or (len(test) > 1 and not parquet):
        names = listed((file.path for file in every), nothing="")
        hint = f"Call the files train-....{'parquet' if parquet else 'csv'} and test-..., and move others elsewhere."
        raise InputError(tree.name, f"it is not clear which file to train on and which to test on: {names}", hint=hint)
    notes, no_test, pairs = [f"{file.name}: not used" for file in sets[VALIDATION]], "there is no test set", {}
    for split, parts in ((TRAIN, train), (TEST, test)):
        if parquet and parts:
            pairs[split] = _read_parquet(split, parts, files)
        for file in () if parquet else parts:
            columns, said = look(file)
            notes += said
            if columns.label is not None:
                pairs[split] = _read_csv(file, columns, files)
            elif split == TRAIN:
                raise InputError(file.name, f"none of its {len(columns.names)} columns holds labels", hint=_LABEL)
            else:
                no_test = f"{file.name} has no labels"
                notes.append(f"{file.name}: not used, since it has no labels")
    return Found(pairs, notes, no_test)


class Pixels:
    """Images with a column for each pixel, in a temporary file: only the end tells their number and type."""

    def __init__(self, files: ExitStack) -> None:
        self._spool, self._count, self._whole = Spool(files), 0, True

    def write(self, pixels: Values) -> None:
        """Append images, [n, pixels]."""
        self._whole = self._whole and bool(((pixels == np.floor(pixels)) & (pixels >= 0) & (pixels <= 255)).all())
        self._spool.write(pixels.astype(np.float32))
        self._count += len(pixels)

    def rows(self, name: str, width: int) -> Rows:
        """Return the images as an array of `width` columns: uint8 if all pixels are whole numbers from 0 to 255."""
        dtype = np.dtype(np.uint8 if self._whole else np.float32)
        blocks = partial(self._spool.blocks, np.float32, (width,))
        return Rows(name, dtype, (self._count, width), lambda: (block.astype(dtype) for block in blocks()))


# CSV


class Columns(NamedTuple):
    """What the columns of a CSV file hold."""

    header: bool
    delimiter: str
    names: list[str]  # or the first values, where there is no header
    label: int | None  # None: there are no labels
    pixels: list[int]


def look(file: File) -> tuple[Columns, list[str]]:
    """Find out from its first line what the columns of a CSV file are; with a line for what was assumed."""
    with reading(file.name, "a table"), file.open() as content:
        first = next((line for _, line in _lines(file, content)), b"")
    delimiter = max(",;\t", key=first.decode("latin1").count)
    names = _cells(file, first, delimiter, 1)
    named = any(_number(name) is None for name in names)
    header = named or names == [str(k) for k in range(len(names))]
    labels = [k for k, name in enumerate(names) if named and LABEL_COLUMN.fullmatch(name.strip())]
    numbers = [k for k, name in enumerate(names) if named and NUMBER_COLUMN.fullmatch(name.strip())]
    others = [k for k in range(len(names)) if k not in (*labels, *numbers)]
    columns = Columns(header, delimiter, names, labels[0] if labels else None, others)
    if len(labels) <= 1 and _square(len(others)):
        return columns, []
    if not labels and _square(len(others) - 1):
        note = f"{file.name}: the first column holds the labels"
        return columns._replace(label=others[0], pixels=others[1:]), [note]
    found = f"{len(names)} columns, {len(labels)} of them labels by name" if named else f"{len(names)} columns"
    expected = f"a column of labels and the pixels of a square image, such as 1 + {28 * 28} columns"
    raise InputError(file.name, expected=expected, received=found, hint=_LABEL)


def _square(count: int) -> bool:
    return count >= LEAST_FIELDS and math.isqrt(count) ** 2 == count


def _read_csv(file: File, columns: Columns, files: ExitStack) -> Pair:
    """Read a CSV file, once."""
    images, texts = Pixels(files), [np.empty(0, "U1")]
    with reading(file.name, "a table"), file.open() as content:
        lines = _lines(file, content)
        if columns.header:
            next(lines)
        while block := [*itertools.islice(lines, LINES)]:
            some, pixels = _parse(file, columns, block)
            texts.append(some)
            images.write(pixels)
    labels, width = np.concatenate(texts), len(columns.pixels)
    if not columns.header and columns.label == 0 and len(labels) and (labels == labels[0]).all():
        # The first value is the same in every line, so it is a pixel of the border, and the labels are last.
        return _read_csv(file, columns._replace(label=width, pixels=[*range(width)]), files)
    title = columns.names[columns.label or 0] if columns.header else f"column {1 + (columns.label or 0)}"
    with suppress(ValueError):  # texts
        labels = labels.astype(np.float64)
    return Pair(images.rows(file.name, width), held(f"{title} in {file.name}", labels))


def _parse(file: File, columns: Columns, block: Sequence[tuple[int, bytes]]) -> tuple[Values, Values]:
    """Parse some lines: labels as texts [n], and pixels [n, pixels] as whole numbers or fractions."""
    lines = [line for _, line in block]

    def load(dtype: type, used: Sequence[int]) -> Values:
        options: Any = {"comments": None, "delimiter": columns.delimiter, "encoding": "utf-8", "quotechar": '"'}
        return np.loadtxt(lines, dtype, usecols=used, ndmin=2, **options)

    if all(line.count(columns.delimiter.encode()) == len(columns.names) - 1 for line in lines):
        for dtype in (np.int32, np.float32):  # whole numbers are parsed ten times as fast
            with suppress(ValueError):
                pixels = load(dtype, columns.pixels)
                if pixels.min() >= 0 and pixels.max() <= 255:
                    return load(str, [columns.label or 0])[:, 0], pixels
    for number, line in block:
        _require_cells(file, columns, number, line)
    where = f"lines {block[0][0]} to {block[-1][0]}"
    raise InputError(file.name, f"{where} are not a table of numbers", hint=AGAIN)


def _require_cells(file: File, columns: Columns, number: int, line: bytes) -> None:
    """Raise InputError if a line has another number of values than the first, or a pixel that is none."""
    cells = _cells(file, line, columns.delimiter, number)
    if len(cells) != len(columns.names):
        sentence = f"line {number} has {len(cells)} values, and the first line {len(columns.names)}"
        raise InputError(file.name, sentence, hint="Correct the line, or delete it.")
    for place in columns.pixels:
        value = _number(cells[place])
        if value is None or not 0 <= value <= 255:
            expected = "pixels as whole numbers from 0 to 255, or as fractions from 0 to 1"
            received = f"{cells[place][:40]!r} in line {number}, column {place + 1}"
            hint = "Correct the value, or delete the line."
            raise InputError(file.name, expected=expected, received=received, hint=hint)


def _lines(file: File, content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Read the lines that are not empty, each with its number."""
    left = most_bytes(file.disk)
    for number in itertools.count(1):
        line = content.readline(LINE_BYTES + 1)
        left -= len(line)
        if not line:
            return
        if len(line) > LINE_BYTES:
            hint = "Save the table as CSV, with one line for each image."
            raise InputError(file.name, f"line {number} is longer than {LINE_BYTES} bytes", hint=hint)
        if left < 0:
            raise InputError(file.name, f"it unpacks to more than {most_bytes(file.disk)} bytes", hint=AGAIN)
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip():
            yield number, line


def _cells(file: File, line: bytes, delimiter: str, number: int) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        sentence, hint = f"line {number} cannot be parsed ({error})", "Save the table again as CSV in UTF-8."
        raise InputError(file.name, sentence, hint=hint) from None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# Parquet


class Opened(NamedTuple):
    """A Parquet file, and pyarrow's view of it."""

    file: File
    table: Any


def _read_parquet(split: str, parts: Sequence[File], files: ExitStack) -> Pair:
    """Read a set: the rows of its files, one file after the other."""
    opened = [_open(file, files) for file in parts]
    label, image, pixels = _columns(parts[0], opened[0].table.schema_arrow)
    name = parts[0].name if len(parts) == 1 else f"{parts[0].name} and {len(parts) - 1} more"
    found = [
        np.empty(0, np.uint8),
        *(_labels(file, first, batch.column(0)) for file, first, batch in _batches(opened, [label])),
    ]
    labels = held(f"{label} in {name}", np.concatenate(found))
    require_labels_form(labels)
    if image:
        title, album = f"the images of the {NAMED[split]} set in {name}", Album(files)
        for place, content in with_progress(_pictures(opened, image), labels.shape[0], title):
            album.add(place, content)
        return Pair(album.rows(title), labels)
    images = Pixels(files)
    for _, _, batch in _batches(opened, pixels):
        images.write(np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1))
    return Pair(images.rows(name, len(pixels)), labels)


def _open(file: File, files: ExitStack) -> Opened:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        hint = "Run `make setup WITH=parquet`, which installs it."
        raise InputError(file.name, "reading Parquet needs the package pyarrow", hint=hint) from None
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
        elif LABEL_COLUMN.fullmatch(field.name):
            labels.append(field.name)
        elif (types.is_integer(kind) or types.is_floating(kind)) and not NUMBER_COLUMN.fullmatch(field.name):
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
    if column.null_count:
        place = first + column.to_pylist().index(None)
        raise InputError(file.name, f"row {place} has no label", hint="Leave out rows without a label.")
    with _reading(file):
        return np.array(column.to_pylist())


def _pictures(opened: Sequence[Opened], column: str) -> Iterator[tuple[str, bytes]]:
    for file, first, batch in _batches(opened, [column]):
        for place, value in enumerate(batch.column(0)):
            content = value.as_py()
            content = content["bytes"] if isinstance(content, dict) else content
            yield f"row {first + place} in {file.name}", content or b""
