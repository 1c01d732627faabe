"""Data sets as tables with a row for each image: CSV and Parquet.

One column holds the labels. Each pixel has a column. Or, in a Parquet file, one column holds picture files, as in data
sets of the Hugging Face hub.
"""

import csv
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from digits.sources import recognize
from digits.sources.arrays import Found, Pair, Spool, Values, held
from digits.sources.labels import require_labels_form
from digits.sources.pictures import Album, with_progress
from digits.sources.recognize import LABEL_COLUMN, NAMED, NUMBER_COLUMN, TEST, TRAIN, VALIDATION
from digits.sources.tree import DAMAGE, File, Tree, listed, most_bytes, reading, without_copies
from dvcproof.runtime.program import InputError

#: The most characters of a line of a CSV file.
LINE = 2**19

#: The most bytes, uncompressed, of a row group of a Parquet file. 60,000 pictures take a tenth of this.
GROUP_BYTES = 2**28

#: The most rows of a Parquet file that are read at a time, and about the most bytes. A small file can have large rows:
#: a value that is stored once can be in every row.
MOST_ROWS = 1024
BATCH_BYTES = 2**26

#: The levels of pixels, by their texts.
LEVELS = {str(level): level for level in range(256)}

_LABEL = "Call the column of the labels `label`, and leave out columns that are not pixels."


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Return the sets of tables in a source, or None if it has no tables. `files` closes their temporary files."""
    parquet = without_copies(tree.of_kind(recognize.PARQUET))
    every = parquet or without_copies(tree.of_kind(recognize.TABLE))
    if not every:
        return None
    sets = recognize.by_split(every, lambda file: file.path)
    train, test = sets[TRAIN] or sets[None], sets[TEST]
    in_parts = parquet and sets[TRAIN]  # only Parquet may have several files for a set
    if not train or (len(train) > 1 and not in_parts) or (len(test) > 1 and not parquet):
        names = listed((file.path for file in every), nothing="")
        hint = "Call the files train... and test..., and move others elsewhere."
        raise InputError(tree.name, f"it is not clear which file to train on and which to test on: {names}", hint=hint)
    found = Found({}, [f"{file.name}: not used" for file in sets[VALIDATION]])
    for split, parts in ((TRAIN, train), (TEST, test)):
        if parquet and parts:
            found.pairs[split] = _read_parquet(split, parts, files)
        for file in () if parquet else parts:
            columns = _look(file, found.notes)
            if columns.label is not None:
                found.pairs[split] = _read_csv(file, columns, files)
            elif split == TRAIN:
                raise InputError(file.name, f"none of its {len(columns.names)} columns holds labels", hint=_LABEL)
            else:
                found.notes.append(f"{file.name}: not used, since it has no labels")
                found = found._replace(no_test=f"{file.name} has no labels")
    return found


# CSV


class Columns(NamedTuple):
    """The columns of a CSV file."""

    header: bool  # whether the first line holds names
    names: list[str]  # without a header, the values of the first line
    label: int | None  # number of the column of labels; None: there are no labels
    pixels: list[int]  # numbers of the columns of pixels


def _look(file: File, notes: list[str]) -> Columns:
    """Return the columns of a CSV file, from its first line. Add a line to `notes` for an assumption."""
    _, names = next(_lines(file))
    named = any(math.isnan(_number(name)) for name in names)
    labels = [k for k, name in enumerate(names) if named and LABEL_COLUMN.fullmatch(name.strip())]
    numbers = [k for k, name in enumerate(names) if named and NUMBER_COLUMN.fullmatch(name.strip())]
    pixels = [k for k in range(len(names)) if k not in (*labels, *numbers)]
    if not labels and _square(len(pixels) - 1):
        labels = [pixels.pop(0)]
        notes.append(f"{file.name}: the first column holds the labels")
    if len(labels) > 1 or not _square(len(pixels)):
        found = f"{len(names)} columns" + (f", {len(labels)} of them labels by name" if named else "")
        expected = f"a column of labels and the pixels of a square image, such as 1 + {28 * 28} columns"
        raise InputError(file.name, expected=expected, received=found, hint=_LABEL)
    header = named or names == [str(k) for k in range(len(names))]
    return Columns(header, names, labels[0] if labels else None, pixels)


def _square(count: int) -> bool:
    return count >= recognize.LEAST_FIELDS and math.isqrt(count) ** 2 == count


def _read_csv(file: File, columns: Columns, files: ExitStack) -> Pair:
    """Read the images and labels of a CSV file."""
    images, found, label, whole = Spool(files, np.float32), list[str](), columns.label or 0, True
    pixels_of = itemgetter(*columns.pixels)
    for number, cells in itertools.islice(_lines(file), columns.header, None):
        if len(cells) != len(columns.names):
            sentence = f"line {number} has {len(cells)} values, and the first line {len(columns.names)}"
            raise InputError(file.name, sentence, hint="Correct the line, or delete it.")
        try:
            pixels = np.frombuffer(bytes(map(LEVELS.__getitem__, pixels_of(cells))), np.uint8)
        except KeyError:  # fractions, or not levels
            pixels = np.fromiter(map(_number, pixels_of(cells)), np.float64)
            wrong = ~((pixels >= 0) & (pixels <= 255))
            if wrong.any():
                place = columns.pixels[int(wrong.argmax())]
                expected = "pixels as whole numbers from 0 to 255, or as fractions from 0 to 1"
                received = f"{cells[place][:40]!r} in line {number}, column {place + 1}"
                hint = "Correct the value, or delete the line."
                raise InputError(file.name, expected=expected, received=received, hint=hint) from None
            whole = whole and bool((pixels % 1 == 0).all())
        images.write(pixels[np.newaxis])
        found.append(cells[label])
    if not columns.header and label == 0 and len({*found}) == 1:
        # The first value is the same in every line. So it is a pixel of the border, and the last column has the labels.
        width = len(columns.pixels)
        return _read_csv(file, columns._replace(label=width, pixels=[*range(width)]), files)
    labels: Values = np.array(found, str)
    with suppress(ValueError):  # labels that are not numbers stay texts
        labels = labels.astype(np.float64)
    title = f"{columns.names[label] if columns.header else f'column {1 + label}'} in {file.name}"
    rows = images.rows(file.name, (len(columns.pixels),), np.uint8 if whole else np.float32)
    return Pair(rows, held(title, labels))


def _lines(file: File) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the values of each line that is not empty."""

    def bounded(text: io.TextIOWrapper) -> Iterator[str]:
        left, hint = most_bytes(file.disk), "Save the table as CSV, with one line for each image."
        while line := text.readline(LINE + 1):
            left -= len(line)
            if len(line) > LINE:
                raise InputError(file.name, f"it has a line of more than {LINE} characters", hint=hint)
            if left < 0:
                raise InputError(file.name, f"it unpacks to more than {most_bytes(file.disk)} bytes", hint=hint)
            yield line

    with (
        reading(file.name, "a table in UTF-8", (*DAMAGE, csv.Error)),
        io.TextIOWrapper(file.open(), "utf-8-sig", newline="") as text,
    ):
        lines = bounded(text)
        first = next(lines)
        table = csv.reader(itertools.chain([first], lines), delimiter=max(",;\t", key=first.count))
        for cells in table:
            if cells:
                yield table.line_num, cells


def _number(text: str) -> float:
    """Return a text as a number, or nan if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


# Parquet


def _read_parquet(split: str, parts: Sequence[File], files: ExitStack) -> Pair:
    """Read the images and labels of a set from its files, one file after the other."""
    tables = [(file, _open(file, files)) for file in parts]
    schema = tables[0][1].schema_arrow
    label, image, pixels = _columns(parts[0], schema)
    name = parts[0].name if len(parts) == 1 else f"{parts[0].name} and {len(parts) - 1} more"
    found = [np.empty(0, np.uint8)]
    for file, first, batch in _batches(tables, [label]):
        cells = batch.column(0).to_pylist()
        if None in cells:
            raise InputError(file.name, f"row {first + cells.index(None)} has no label", hint="Leave out such rows.")
        with _reading(file):
            found.append(np.array(cells))
    labels = held(f"{label} in {name}", np.concatenate(found))
    require_labels_form(labels)
    if image:
        title, album = f"the images of the {NAMED[split]} set in {name}", Album(files)
        for place, content in with_progress(_pictures(tables, image), title, labels.shape[0]):
            album.add(place, content)
        return Pair(album.rows(title), labels)
    dtype = np.result_type(*(schema.field(column).type.to_pandas_dtype() for column in pixels))
    images = Spool(files, dtype)
    for _, _, batch in _batches(tables, pixels):
        images.write(np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1))
    return Pair(images.rows(name, (len(pixels),), dtype), labels)


def _open(file: File, files: ExitStack) -> Any:
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
        raise InputError(file.name, expected=expected, received=f"{largest} bytes", hint=hint)
    return table


def _reading(file: File) -> AbstractContextManager[None]:
    import pyarrow

    return reading(file.name, "a Parquet file", (pyarrow.ArrowException, OSError, ValueError, KeyError))


def _largest_group(table: Any) -> int:
    """Return the uncompressed bytes of the largest row group.

    The size of the group is read, not the sizes of its columns: on a damaged column, this would abort the process.
    """
    groups = map(table.metadata.row_group, range(table.metadata.num_row_groups))
    return max((group.total_byte_size for group in groups), default=0)


def _columns(file: File, schema: Any) -> tuple[str, str | None, list[str]]:
    """Return the names of three things: the column of labels, the column of images (None: none), the pixel columns."""
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
        hint = "Keep one column of images (or one for each pixel), and one of labels called `label`."
        names = listed(schema.names, nothing="none")
        raise InputError(file.name, f"its columns are not images and labels: {names}", hint=hint)
    return labels[0], images[0] if images else None, pixels


def _batches(tables: Sequence[tuple[File, Any]], names: Sequence[str]) -> Iterator[tuple[File, int, Any]]:
    """Yield batches of rows of some columns, each with its file and the number of its first row."""
    for file, table in tables:
        first, rows = 0, max(1, min(MOST_ROWS, BATCH_BYTES // max(1, _largest_group(table))))
        with _reading(file):
            for batch in table.iter_batches(rows, columns=[*names], use_threads=False):
                yield file, first, batch
                first += batch.num_rows


def _pictures(tables: Sequence[tuple[File, Any]], column: str) -> Iterator[tuple[str, bytes]]:
    for file, first, batch in _batches(tables, [column]):
        for row, cell in enumerate(batch.column(0), first):
            content = cell.as_py()
            yield f"row {row} in {file.name}", (content["bytes"] if isinstance(content, dict) else content) or b""
