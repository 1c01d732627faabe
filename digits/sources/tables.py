"""Data sets as CSV: a row for each image, its label and a column for each pixel, with or without a header line."""

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import numpy as np

from digits.sources.recognize import LABEL_COLUMN, LEAST_FIELDS, NUMBER_COLUMN, TABLE, TEST, TRAIN, VALIDATION, by_split
from digits.sources.rows import AGAIN, Found, Pair, Rows, Spool, Values, held, listed, most_bytes, reading
from digits.sources.tree import File, Tree, without_copies
from dvcproof.runtime.program import InputError

#: Bytes of the longest line, and lines that are parsed at a time.
LINE_BYTES = 2**19
LINES = 256

_LABEL = "Call the column of the labels `label`, and leave out columns that are not pixels."


class Columns(NamedTuple):
    """What the columns of a table hold."""

    header: bool
    delimiter: str
    names: list[str]  # or the first values, where there is no header
    label: int | None  # None: there are no labels
    pixels: list[int]


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Find the tables of a source, if it has any; `files` closes the temporary files that hold their pixels."""
    tables = without_copies(tree.of_kind(TABLE))
    if not tables:
        return None
    sets = by_split(tables, lambda file: file.path)
    train, test = sets[TRAIN] or sets[None], sets[TEST]
    if len(train) != 1 or len(test) > 1:
        names = listed((file.path for file in tables), nothing="no table")
        hint = "Call the training table train.csv and the test table test.csv, and move others elsewhere."
        raise InputError(tree.name, f"it is not clear which table to train on and which to test on: {names}", hint=hint)
    notes, no_test = [f"{file.name}: not used" for file in sets[VALIDATION]], "there is no test set"
    pairs = {}
    for split, file in ((TRAIN, train[0]), *((TEST, file) for file in test)):
        columns, said = look(file)
        notes += said
        if columns.label is not None:
            pairs[split] = _read(file, columns, files)
        elif split == TRAIN:
            raise InputError(file.name, f"none of its {len(columns.names)} columns holds labels", hint=_LABEL)
        else:
            no_test = f"{file.name} has no labels"
            notes.append(f"{file.name}: not used, since it has no labels")
    return Found(pairs, notes, no_test)


def look(file: File) -> tuple[Columns, list[str]]:
    """Find out from its first line what the columns of a table are; with a line for what was assumed."""
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


def _read(file: File, columns: Columns, files: ExitStack) -> Pair:
    """Read a table, once: its pixels go through a Spool, since only the end tells how many there are."""
    spool, texts, count, whole = Spool(files), [np.empty(0, "U1")], 0, True
    with reading(file.name, "a table"), file.open() as content:
        lines = _lines(file, content)
        if columns.header:
            next(lines)
        while block := [*itertools.islice(lines, LINES)]:
            labels, pixels = _parse(file, columns, block)
            whole = whole and bool((pixels == np.floor(pixels)).all())
            texts.append(labels)
            spool.write(pixels.astype(np.float32))
            count += len(pixels)
    labels, row, dtype = np.concatenate(texts), (len(columns.pixels),), np.dtype(np.uint8 if whole else np.float32)
    if not columns.header and columns.label == 0 and count and (labels == labels[0]).all():
        # The first value is the same in every line, so it is a pixel of the border, and the labels are last.
        return _read(file, columns._replace(label=row[0], pixels=[*range(row[0])]), files)
    title = columns.names[columns.label or 0] if columns.header else f"column {1 + (columns.label or 0)}"
    images = Rows(file.name, dtype, (count, *row), lambda: (b.astype(dtype) for b in spool.blocks(np.float32, row)))
    return Pair(images, held(f"{title} in {file.name}", _as_numbers(labels)))


def _as_numbers(texts: Values) -> Values:
    """Return labels as numbers if all of them are numbers."""
    found, places = np.unique(texts, return_inverse=True)
    values = [_number(str(text)) for text in found]
    return texts if None in values else np.array(values, np.float64)[places]


def _parse(file: File, columns: Columns, block: Sequence[tuple[int, bytes]]) -> tuple[Values, Values]:
    """Parse some lines: labels as texts [n], and pixels [n, pixels] as whole numbers or fractions."""
    lines = [line for _, line in block]

    def load(dtype: type, used: Sequence[int]) -> Values:
        options: Any = {"comments": None, "delimiter": columns.delimiter, "encoding": "utf-8", "quotechar": '"'}
        return np.loadtxt(lines, dtype, usecols=used, ndmin=2, **options)

    if all(line.count(columns.delimiter.encode()) == len(columns.names) - 1 for line in lines):
        for dtype in (np.int32, np.float32):  # whole numbers are parsed ten times as fast
            try:
                pixels = load(dtype, columns.pixels)
                if pixels.min() >= 0 and pixels.max() <= 255:
                    return load(str, [columns.label or 0])[:, 0], pixels
            except ValueError:
                continue
    raise _explain(file, columns, block)


def _explain(file: File, columns: Columns, block: Sequence[tuple[int, bytes]]) -> InputError:
    """Return the error that some lines cannot be parsed."""
    pixels = {*columns.pixels}
    for number, line in block:
        cells = _cells(file, line, columns.delimiter, number)
        if len(cells) != len(columns.names):
            sentence = f"line {number} has {len(cells)} values, and the first line {len(columns.names)}"
            return InputError(file.name, sentence, hint="Correct the line, or delete it.")
        for place, cell in enumerate(cells):
            value = _number(cell)
            if place in pixels and (value is None or not 0 <= value <= 255):
                expected = "pixels as whole numbers from 0 to 255, or as fractions from 0 to 1"
                received = f"{cell[:40]!r} in line {number}, column {place + 1}"
                hint = "Correct the value, or delete the line."
                return InputError(file.name, expected=expected, received=received, hint=hint)
    where = f"lines {block[0][0]} to {block[-1][0]}"
    return InputError(file.name, f"{where} are not a table of numbers", hint=AGAIN)


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
