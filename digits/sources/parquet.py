"""Data sets as Parquet, as the Hugging Face hub keeps them: a row for each image, with its file and its label."""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from digits.sources.kinds import PARQUET
from digits.sources.parts import Found, Pair
from digits.sources.pictures import Encoded, Pictures
from digits.sources.roles import LABEL_COLUMN, NAMED, TEST, TRAIN, VALIDATION, natural, split_of
from digits.sources.stream import MOST_IMAGES, Held, Values, listed, reason, wrong
from digits.sources.targets import MOST_TEXT_BYTES
from digits.sources.tree import File, Tree, without_copies
from dvcproof.runtime.program import InputError

#: Bytes of the values of one column in one group of rows, unpacked: those of 60,000 pictures are a tenth of it.
GROUP_BYTES = 2**28

#: Rows that are read at a time, and bytes of them: one value, stored once, can be in every row.
MOST_ROWS = 1024
BATCH_BYTES = 2**26

#: Names of columns that number the rows.
_NUMBER = re.compile(r"id|idx|index|image_?id|__index_level_0__", re.IGNORECASE)


def find(tree: Tree, files: ExitStack) -> Found | None:
    """The Parquet files of a source, if it has any.

    Raises:
        InputError: a file is damaged, or its columns are others, or the library that reads them is missing.
    """
    every = without_copies(tree.of_kind(PARQUET))
    if not every:
        return None
    _require_library(tree)
    sets: dict[str | None, list[File]] = {}
    for file in sorted(every, key=lambda file: natural(file.path)):
        sets.setdefault(split_of(file.path), []).append(file)
    notes = [f"{file.name}: not used" for file in sets.pop(VALIDATION, [])]
    if TRAIN not in sets:
        if TEST in sets or len(sets[None]) != 1:
            found = listed((file.path for file in every), nothing="no file")
            hint = "Call the files train-...parquet and test-...parquet."
            raise wrong(tree.name, "a file of the training set", found, hint=hint)
        sets[TRAIN] = sets.pop(None)
    pairs = {split: _pair(split, sets[split], files) for split in (TRAIN, TEST) if split in sets}
    return Found(pairs, notes)


def _require_library(tree: Tree) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError(
            tree.name,
            expected="the package pyarrow, to read Parquet",
            received="none",
            hint="Run `make setup WITH=parquet`, which installs it.",
        ) from None


class _Columns:
    """The columns of images and of labels in some Parquet files of one form."""

    def __init__(self, file: File, schema: Any) -> None:
        import pyarrow

        images, labels, pixels = [], [], []
        for field in schema:
            kind = field.type
            files = pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
            if files or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
                images.append(field.name)
            elif LABEL_COLUMN.fullmatch(field.name):
                labels.append(field.name)
            elif pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
                pixels.append(field.name)
        pixels = [name for name in pixels if not _NUMBER.fullmatch(name)]
        if len(labels) != 1 or len(images) > 1 or not (images or math.isqrt(len(pixels)) ** 2 == len(pixels) > 0):
            hint = "Keep one column of images (or one for each pixel), and one of labels called `label`."
            raise wrong(
                file.name, "a column of images and one of labels", listed(schema.names, nothing="none"), hint=hint
            )
        self.label, self.image = labels[0], images[0] if images else None
        self.pixels = [] if images else pixels


def _pair(split: str, parts: Sequence[File], files: ExitStack) -> Pair:
    """A set: the rows of its files, one file after the other."""
    opened = [_open(file, files) for file in parts]
    columns = _Columns(parts[0], opened[0].schema_arrow)
    name = parts[0].name if len(parts) == 1 else f"{parts[0].name} and {len(parts) - 1} more"
    count = sum(table.metadata.num_rows for table in opened)
    if count > MOST_IMAGES:
        raise wrong(name, f"at most {MOST_IMAGES} images", f"{count}", hint="Leave some out.")
    reader = _Reader(parts, opened)
    labels = reader.labels(columns.label)
    if len(labels) != count:
        raise wrong(name, f"{count} rows, as it says", f"{len(labels)}")
    held = Held(f"{columns.label} in {name}", labels)
    if columns.image is None:
        return Pair(_Pixels(name, count, columns.pixels, reader), held)
    title = f"the images of the {NAMED[split]} set in {name}"
    return Pair(Pictures(title, count, functools.partial(reader.pictures, columns.image)), held)


def _open(file: File, files: ExitStack) -> Any:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        table = files.enter_context(pq.ParquetFile(file.reachable(files), memory_map=False, pre_buffer=False))
        largest = max(_group_sizes(table), default=0)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise _damaged(file, error) from None
    if largest > GROUP_BYTES:
        hint = "Write it in smaller groups: `pyarrow.parquet.write_table(..., row_group_size=10000)`."
        raise wrong(file.name, f"groups of rows of at most {GROUP_BYTES} bytes", f"{largest}", hint=hint)
    return table


def _group_sizes(table: Any) -> list[int]:
    """Bytes of each group of rows, unpacked. Not of each column: of a damaged one pyarrow ends the whole program."""
    metadata = table.metadata
    return [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]


def _damaged(file: File, error: Exception) -> InputError:
    return wrong(file.name, "a Parquet file", f"a damaged one ({reason(error).splitlines()[0]})")


class _Reader:
    """The rows of some Parquet files."""

    def __init__(self, files: Sequence[File], tables: Sequence[Any]) -> None:
        self._files, self._tables = files, tables

    def batches(self, names: Sequence[str]) -> Iterator[tuple[File, int, Any]]:
        """Some columns of some rows at a time, with the file and the number of the first row."""
        import pyarrow

        for file, table in zip(self._files, self._tables, strict=True):
            first, largest = 0, max(_group_sizes(table), default=0)
            rows = max(1, min(MOST_ROWS, BATCH_BYTES // max(1, largest)))
            try:
                for batch in table.iter_batches(rows, columns=[*names], use_threads=False):
                    yield file, first, batch
                    first += batch.num_rows
            except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
                raise _damaged(file, error) from None

    def labels(self, name: str) -> Values:
        """The labels whole, for they are small."""
        import pyarrow

        parts: list[Values] = []
        for file, first, batch in self.batches([name]):
            column = batch.column(0)
            if column.null_count:
                place = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
                raise wrong(
                    file.name, "a label in each row", f"none in row {place}", hint="Leave out rows without a label."
                )
            number = pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)
            parts.append(column.to_numpy(zero_copy_only=False) if number else _texts(file, first, column))
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def pictures(self, name: str) -> Encoded:
        """The bytes of each picture, with its name for messages."""
        for file, first, batch in self.batches([name]):
            for place, value in enumerate(batch.column(0)):
                content = value.as_py()
                if isinstance(content, dict):
                    content = content["bytes"]
                yield f"row {first + place} in {file.name}", content or b""


def _texts(file: File, first: int, column: Any) -> Values:
    """Labels that are texts, or booleans. A text is looked at before it is copied: it may be long."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    for place, value in enumerate(column):
        text = pyarrow.types.is_string(value.type) or pyarrow.types.is_large_string(value.type)
        if not text or value.as_buffer().size > MOST_TEXT_BYTES:
            received = f"a text of {value.as_buffer().size} bytes" if text else f"a value of the type {value.type}"
            expected, hint = "labels as whole numbers or short texts", "Convert the labels, and write the file again."
            raise wrong(file.name, expected, f"{received} in row {first + place}", hint=hint)
    return np.array(column.to_pylist(), str)


class _Pixels:
    """A column for each pixel as an array [n, pixels]."""

    def __init__(self, name: str, count: int, names: Sequence[str], reader: _Reader) -> None:
        self.name, self.shape, self._names, self._reader = name, (count, len(names)), names, reader
        _, _, batch = next(reader.batches(names))
        self.dtype = np.result_type(*(column.type.to_pandas_dtype() for column in batch.columns))

    def require_size(self) -> None:
        """Nothing to refuse: the file says what it holds."""

    def rows(self) -> Iterator[Values]:
        """Some rows at a time."""
        for _, _, batch in self._reader.batches(self._names):
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            yield np.stack(columns, axis=1).astype(self.dtype)
