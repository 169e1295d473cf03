"""Items in Parquet files (parquet.apache.org), for pandas, DuckDB, Spark and the like. Needs the extra `parquet`.

    SELECT url, title FROM read_parquet('items-*.parquet', union_by_name = true);

A Parquet file cannot be read until it is closed, so items are in a spool (`pipelines.spool`) until there are enough for
a file, or the store is closed. `path = "items.parquet"` gives items-000001.parquet, items-000002.parquet, …; a later
run goes on counting.

Columns: id, kind, url, fetched_at (UTC, ms), spider; then the data's, from the option `columns` or else found in the
data; then `extra`, which takes, as a JSON object, what has no column or does not fit the column's type. A data field
called like one of these has the column `data.<name>`. Columns found in the data are only ever widened, from one file
to the next: a field is new, an int is a float now; the log says so once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.error import SettingsError, Unavailable
from crawler.model import Message
from pipelines.parquet_lines import Row, lines, read, times
from pipelines.parquet_schema import EXTRA, FIXED, PLAIN, Misfit, Type, changes, checked, column, fitted, shown, widened
from pipelines.spool import Lines, Spool

COMPRESSIONS: Final = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")

_log = logging.getLogger(__name__)

_TIME: Final = pa.timestamp("ms", "UTC")
_SCALARS: Final = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "string": pa.string()}


class Parquet:
    """`path`: of the files, each with its number before the ending. `columns`: name -> type ("int", "float", "bool",
    "string", ["…"] for a list, {name = "…"} for an object); empty: from the data. A file is written once there are
    `rows_max` items or `bytes_max` of their JSON, or the first came `age_s` seconds ago (0: never) and another comes.
    `fsync` false: a power loss, not a kill, may lose what is in the spool."""

    writers = 1

    def __init__(
        self,
        *,
        path: str,
        columns: Mapping[str, Any] | None = None,
        compression: str = "zstd",
        rows_max: int = 100_000,
        bytes_max: int = 128 << 20,
        age_s: float = 0.0,
        fsync: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises SettingsError when an option is wrong, or the files cannot be written or were not written by this
        crawl; Unavailable when the disk is full."""
        if compression not in COMPRESSIONS:
            raise SettingsError(f'compression = "{compression}": expected {", ".join(COMPRESSIONS)}')
        if rows_max < 1 or bytes_max < 1:
            raise SettingsError("rows_max and bytes_max: expected at least 1")
        self._compression = compression
        self._rows_max, self._bytes_max, self._age_s = rows_max, bytes_max, age_s
        self._clock = clock
        self._fixed = checked(columns or {})
        self._told: set[str] = set()
        self._spool = Spool(path, fsync=fsync, clock=clock)
        self._schema: dict[str, Type] = self._fixed or json.loads(self._spool.state.note or "{}")

    def store(self, messages: Sequence[Message]) -> None:
        """Cost: about 12 µs an item of 1 KB, and 15 more when the file is written, 1.5 s for 100,000. Raises Reject
        for a message whose data is no JSON object, Unavailable when the disk is full."""
        self._spool.append(messages, self._render)
        self._schema = self._fixed or json.loads(self._spool.state.note or "{}")
        if self._due():
            self._finish()

    def _due(self) -> bool:
        state = self._spool.state
        old = self._age_s and state.begun_s and self._clock() - state.begun_s >= self._age_s
        return bool(state.rows and (old or state.rows >= self._rows_max or state.length >= self._bytes_max))

    def close(self) -> None:
        """Writes the last file. Where it cannot, the items stay in the spool for the next run."""
        try:
            if self._spool.state.rows:
                self._finish()
        except Unavailable as error:
            _log.warning("%s; %d items wait in %s.spool", error, self._spool.state.rows, self._spool.path)
        self._spool.close()

    def _render(self, messages: Sequence[Message]) -> Lines:
        """Lines that will surely become rows: what could fail fails here. Raises Reject."""
        data, rows = lines(messages)
        schema = self._fixed or widened(self._schema, [row.data for row in rows])
        if schema != self._schema:
            self._tell(schema)
        return Lines(data, len(rows), self._spool.state.note if schema == self._schema else json.dumps(schema))

    def _tell(self, schema: Mapping[str, Type]) -> None:
        if self._spool.state.number:
            for change in changes(self._schema, schema):
                if change not in self._told:
                    self._told.add(change)
                    _log.warning("%s: from the next file on the column %s", self._spool.path, change)

    def _finish(self) -> None:
        rows = self._spool.state.rows
        try:
            name = self._spool.finish(self._write)
        except pa.ArrowException as error:  # nothing is lost, and nothing more is taken until somebody looks
            raise Unavailable(f"{self._spool.path}: {type(error).__name__}: {error}") from error
        _log.info("%s: %d items", name, rows)

    def _write(self, path: Path) -> None:
        fixed = {name: _TIME if name == "fetched_at" else pa.string() for name in FIXED}
        columns = {column(name): _arrow(type) for name, type in self._schema.items()}
        schema = pa.schema({**fixed, **columns, EXTRA: pa.string()})
        with pq.ParquetWriter(path, schema, compression=self._compression) as writer:
            for chunk in self._spool.chunks():
                writer.write_batch(self._batch(read(chunk), schema))

    def _batch(self, rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
        extra: dict[int, dict[str, Any]] = {}
        items = [row.data for row in rows]
        arrays = [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.kind for row in rows], pa.string()),
            pa.array([row.url for row in rows], pa.string()),
            pa.array(times(row.fetched_at for row in rows), _TIME),
            pa.array([row.spider for row in rows], pa.string()),
        ]
        for name, type in self._schema.items():
            values = [item.get(name) for item in items]
            arrays.append(self._array(name, values, type, extra))
        known = self._schema.keys()
        for index, item in enumerate(items):
            if not item.keys() <= known:
                rest = {name: value for name, value in item.items() if name not in known and value is not None}
                if rest:
                    extra.setdefault(index, {}).update(rest)
        texts = [_json(extra[index]) if index in extra else None for index in range(len(rows))]
        return pa.record_batch([*arrays, pa.array(texts, pa.string())], schema=schema)

    def _array(self, name: str, values: list[Any], type_: Type, extra: dict[int, dict[str, Any]]) -> pa.Array:
        """A column. Values that its type does not hold are null there, and stand in `extra`."""
        arrow = _arrow(type_)
        if isinstance(type_, str) and set(map(type, values)) <= PLAIN[type_]:
            try:
                return pa.array(values, arrow)
            except (OverflowError, pa.ArrowInvalid):  # an int above 64 bits
                pass
        misfits = 0
        for index, value in enumerate(values):
            try:
                values[index] = fitted(value, type_)
            except Misfit:
                extra.setdefault(index, {})[name] = value
                values[index] = None
                misfits += 1
        if misfits and name not in self._told:
            self._told.add(name)
            _log.warning(
                "%s: %d values of %s are not %s: they are in the column %s",
                *(self._spool.path, misfits, name, shown(type_), EXTRA),
            )
        return pa.array(values, arrow)


def _json(value: Any) -> str:
    """Whole numbers of any size, which msgspec does not write."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _arrow(type: Type) -> pa.DataType:
    if isinstance(type, str):
        return _SCALARS[type]
    if isinstance(type, list):
        return pa.list_(_arrow(type[0]))
    return pa.struct({name: _arrow(inner) for name, inner in type.items()})
