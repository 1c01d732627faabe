"""Data sets as CSV: a row for each image, its label and a column for each pixel, with and without a header line."""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.sources import roles
from digits.sources.kinds import LEAST_FIELDS, TABLE
from digits.sources.parts import Found, Pair
from digits.sources.roles import TEST, TRAIN, VALIDATION
from digits.sources.stream import DAMAGE, Held, Spool, Stream, Values, listed, most_bytes, reason, wrong
from digits.sources.tree import File, Tree, without_copies
from dvcproof.runtime.program import InputError

#: Bytes of the longest line, and lines that are parsed at a time.
LINE_BYTES = 2**19
LINES = 256

#: Names of columns that number the rows.
_NUMBER = re.compile(r"|id|idx|index|image_?id|unnamed: 0", re.IGNORECASE)


class Columns(NamedTuple):
    """What the columns of a table hold."""

    header: bool
    delimiter: str
    width: int
    label: int | None  # None: there are no labels
    pixels: list[int]
    names: list[str]


class Table(NamedTuple):
    """A table that was read."""

    images: Stream
    labels: Held


class Form(NamedTuple):
    """How the values of a table are read."""

    fractions: bool = False  # pixels as float32, else as whole numbers
    texts: bool = False  # labels as texts, else as whole numbers


class _OtherFormError(Exception):
    """A value needs another form than those before."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form


def find(tree: Tree, files: ExitStack) -> Found | None:
    """The tables of a source, if it has any; `files` closes what they go through.

    Raises:
        InputError: a table is damaged, or it is not clear which of several to take.
    """
    tables = without_copies(tree.of_kind(TABLE))
    notes = [f"{file.name}: not used" for file in tables if roles.split_of(file.path) == VALIDATION]
    tables = [file for file in tables if roles.split_of(file.path) != VALIDATION]
    if not tables:
        return None
    by_split = {split: [file for file in tables if roles.split_of(file.path) == split] for split in (TRAIN, TEST, None)}
    train, test = by_split[TRAIN] or by_split[None], by_split[TEST]
    if len(train) != 1 or len(test) > 1:
        hint = "Call the table to train on train.csv, that to test on test.csv, and move others elsewhere."
        names = listed((file.path for file in tables), nothing="no table")
        raise wrong(tree.name, "one table of the training set and at most one of the test set", names, hint=hint)
    pairs, no_test = {}, "no test set"
    for split, file in ((TRAIN, train[0]), *((TEST, file) for file in test)):
        columns, said = look(file)
        notes += said
        if columns.label is not None:
            pairs[split] = _read(file, columns, files)
        elif split == TRAIN:
            hint = "Call the column of the labels `label`."
            names = listed(columns.names, nothing="no header") if columns.header else f"{columns.width} columns"
            raise wrong(file.name, "a column of labels beside those of the pixels", names, hint=hint)
        else:
            no_test = f"{file.name} without labels"
            notes.append(f"{file.name}: not used, since it has no labels")
    return Found(pairs, notes, no_test)


def look(file: File) -> tuple[Columns, list[str]]:
    """Find out from its first lines what the columns of a table are; with a line for what was assumed.

    Raises:
        InputError: they cannot be a label and the pixels of a square image.
    """
    with file.open() as content:
        lines = [line for _, line in itertools.islice(_lines(file, content), 2)]
    first = lines[0] if lines else b""
    delimiter = max(",;\t", key=first.decode("latin1").count)
    names = _cells(file, first, delimiter, 1)
    header = not all(_number(name) is not None for name in names) or names == [str(k) for k in range(len(names))]
    named = header and any(_number(name) is None for name in names)
    labels = [k for k, name in enumerate(names) if named and roles.LABEL_COLUMN.fullmatch(name.strip())]
    numbers = [k for k, name in enumerate(names) if named and _NUMBER.fullmatch(name.strip())]
    others = [k for k in range(len(names)) if k not in (*labels, *numbers)]
    if named and len(labels) <= 1 and _square(len(others)):
        return Columns(header, delimiter, len(names), labels[0] if labels else None, others, names), []
    if not named and _square(len(names)):
        return Columns(header, delimiter, len(names), None, others, names), []
    if not labels and _square(len(others) - 1):
        where = f"{file.name}: the first column holds the labels"
        return Columns(header, delimiter, len(names), others[0], others[1:], names), [where]
    expected = f"columns of a label and of the pixels of a square image, such as 1 + {28 * 28}"
    received = f"{len(names)} columns" + (f", of which {len(labels)} by name hold labels" if named else "")
    hint = "Call the column of the labels `label`, and leave out columns that are no pixels."
    raise wrong(file.name, expected, received, hint=hint)


def _square(count: int) -> bool:
    return count >= LEAST_FIELDS and math.isqrt(count) ** 2 == count


def _read(file: File, columns: Columns, files: ExitStack) -> Pair:
    """Read a table, once: its pixels go through a file without a name, since only the end tells how many there are."""
    _require_size(file)
    form = Form()
    while True:
        try:
            table = _read_as(file, columns, form, files)
        except _OtherFormError as other:
            form = other.form
            continue
        if columns.header or columns.label or (table.labels.values != table.labels.values[0]).any():
            return Pair(*table)
        last = columns.width - 1  # the first is the same in every line, so it is a pixel of the border
        columns = columns._replace(label=last, pixels=[*range(last)])


def _require_size(file: File) -> None:
    """Refuse a packed table that is too large before parsing it, which takes longer."""
    if file.packed:
        try:
            with file.open() as content:
                left = most_bytes(file.disk)
                while left >= 0 and (block := content.read(2**18)):
                    left -= len(block)
        except DAMAGE as error:
            raise _damaged(file, error) from None
        if left < 0:
            raise wrong(file.name, f"at most {most_bytes(file.disk)} bytes in a file of {file.disk}", "more")


def _read_as(file: File, columns: Columns, form: Form, files: ExitStack) -> Table:
    spool, labels, count = Spool(files), [], 0
    dtype = np.dtype(np.float32 if form.fractions else np.uint8)
    with file.open() as content:
        lines = _lines(file, content)
        if columns.header:
            next(lines)
        while block := [*itertools.islice(lines, LINES)]:
            part, pixels = _parse(file, columns, form, block)
            labels.append(part)
            spool.write(pixels)
            count += len(pixels)
    held = np.concatenate(labels) if labels else np.empty(0, np.uint8)
    images = spool.stream(file.name, dtype, (count, len(columns.pixels)))
    place = int(columns.label or 0)
    title = columns.names[place] if columns.header else f"column {place + 1}"
    return Table(images, Held(f"{title} in {file.name}", held))


def _parse(
    file: File, columns: Columns, form: Form, block: Sequence[tuple[int, bytes]]
) -> tuple[Values, NDArray[np.uint8] | NDArray[np.float32]]:
    """Labels and pixels of some lines.

    Raises:
        InputError: a line has another number of values, or one that is none.
        _OtherFormError: the values need another form.
    """
    lines = [line for _, line in block]
    label = int(columns.label or 0)
    try:
        if any(line.count(columns.delimiter.encode()) != columns.width - 1 for line in lines):
            raise ValueError("another number of columns")
        if form.texts:
            labels = _load(lines, columns, str, [label])[:, 0]
            pixels = _load(lines, columns, np.float32 if form.fractions else np.int32, columns.pixels)
        else:
            used = [label, *columns.pixels]
            every = len(used) == columns.width  # `usecols` takes its time
            table = _load(lines, columns, np.float64 if form.fractions else np.int32, None if every else used)
            labels, pixels = (table[:, label], table[:, columns.pixels]) if every else (table[:, 0], table[:, 1:])
    except ValueError as error:
        raise _explain(file, columns, form, block, error) from None
    if form.fractions:
        return labels, pixels.astype(np.float32)
    if pixels.min() < 0 or pixels.max() > 255:
        raise _explain(file, columns, form, block, ValueError("a value that is no pixel"))
    return labels if form.texts else labels.astype(np.int32), pixels.astype(np.uint8)


def _load(lines: Sequence[bytes], columns: Columns, dtype: type, only: Sequence[int] | None = None) -> NDArray[Any]:
    return np.loadtxt(
        lines, dtype, comments=None, delimiter=columns.delimiter, usecols=only, ndmin=2, encoding="utf-8", quotechar='"'
    )


def _explain(
    file: File, columns: Columns, form: Form, block: Sequence[tuple[int, bytes]], error: ValueError
) -> InputError | _OtherFormError:
    """What is wrong with some lines that cannot be parsed, or the form in which they can."""
    for number, line in block:
        cells = _cells(file, line, columns.delimiter, number)
        if len(cells) != columns.width:
            expected = f"{columns.width} values in each line, as in the first"
            return wrong(file.name, expected, f"{len(cells)} in line {number}", hint="Correct the line, or delete it.")
        for place, cell in enumerate(cells):
            value = _number(cell)
            if place == columns.label:
                if value is None and not form.texts:
                    return _OtherFormError(form._replace(texts=True))
            elif place in columns.pixels and (value is None or not 0 <= value <= 255):
                expected = "pixels as whole numbers from 0 to 255, or as fractions from 0 to 1"
                received = f"{cell[:40]!r} in line {number}, column {place + 1}"
                return wrong(file.name, expected, received, hint="Correct the value, or delete the line.")
            if value is not None and not re.fullmatch(r"\s*[+-]?\d+\s*", cell) and not form.fractions:
                return _OtherFormError(form._replace(fractions=True))
    expected = "a table of numbers"
    return wrong(file.name, expected, f"something else in lines {block[0][0]} to {block[-1][0]} ({reason(error)})")


def _lines(file: File, content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, each with its number."""
    try:
        for number in itertools.count(1):
            line = content.readline(LINE_BYTES + 1)
            if not line:
                return
            if len(line) > LINE_BYTES:
                received = f"a longer one, line {number}"
                raise wrong(file.name, f"lines of at most {LINE_BYTES} bytes", received, hint="Save the table as CSV.")
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield number, line
    except DAMAGE as error:
        raise _damaged(file, error) from None


def _damaged(file: File, error: Exception) -> InputError:
    return wrong(file.name, "a table", f"a damaged file ({reason(error)})")


def _cells(file: File, line: bytes, delimiter: str, number: int) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        expected, hint = "text in UTF-8, with values between commas", "Save the table again as CSV in UTF-8."
        raise wrong(file.name, expected, f"another line {number} ({error})", hint=hint) from None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
