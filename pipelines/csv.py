"""Items as comma-separated values (RFC 4180): UTF-8, CRLF, a header line.

Columns: id, kind, url, fetched_at, spider; then the data's, from the option `columns` or else from the first batch;
then `extra`, which takes, as a JSON object, whatever data has no column. A data field called like one of the first
five, or `extra`, has the column `data.<name>`. Lists and objects are JSON text; null is empty.

A spreadsheet takes a cell that begins with = + - @ for a formula, and the web can put one there. `escape_formulas`
puts a `'` before such texts (OWASP, CSV Injection); off by default, because it changes the data for every other reader.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from crawler.error import SettingsError
from crawler.model import Message
from pipelines.segment import Segment
from pipelines.shelf import File

FIXED: Final = ("id", "kind", "url", "fetched_at", "spider")
EXTRA: Final = "extra"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Csv:
    """`path`: the file, with `<path>.index` beside it; its name may have `{kind}` and `{date}`, for a file each.
    `columns`: the data fields that have a column of their own. `compression`, `rotate_bytes`, `rotate_s` and `fsync` as
    in `pipelines.jsonl`; the file after one that was put away has its columns."""

    writers = 1

    def __init__(
        self,
        *,
        path: str,
        columns: Sequence[str] = (),
        escape_formulas: bool = False,
        compression: str = "auto",
        rotate_bytes: int = 0,
        rotate_s: float = 0.0,
        fsync: bool = False,
    ) -> None:
        """Raises SettingsError when the file cannot be written, was not written by this crawl, or has other columns."""
        self._segment = Segment(
            path, fsync=fsync, rotate_bytes=rotate_bytes, rotate_s=rotate_s, compression=compression
        )
        self._escape = escape_formulas
        self._wanted = tuple(columns)
        for name, file in self._segment.files.items():
            if self._wanted and file.columns and file.columns != self._wanted:
                self._segment.close()
                raise SettingsError(
                    f"{name} has the columns {', '.join(file.columns)}; `columns` now says "
                    f"{', '.join(self._wanted)}: set it back, give another path, or start over with --fresh"
                )

    def store(self, messages: Sequence[Message]) -> None:
        """Raises Unavailable when the disk is full."""
        self._segment.append(messages, self._render, lambda fresh: self._wanted or _fields(fresh))

    def _render(self, messages: Sequence[Message], file: File) -> bytes:
        text = io.StringIO(newline="")
        table = csv.writer(text)
        columns = file.columns
        if file.empty and any(message.records for message in messages):
            table.writerow((*FIXED, *(_column(name) for name in columns), EXTRA))
        for message in messages:
            fixed = (message.kind, message.url, message.fetched_at, message.spider)
            for record in message.records:
                data = record.fields()
                cells = [self._cell(data.pop(name, None)) for name in columns]
                extra = msgspec.json.encode(data).decode() if data else ""
                table.writerow((record.id, *fixed, *cells, extra))
        return text.getvalue().encode()

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return f"'{value}" if self._escape and value.startswith(_FORMULA) else value
        return msgspec.json.encode(value).decode()

    def close(self) -> None:
        self._segment.close()


def _fields(messages: Iterable[Message]) -> tuple[str, ...]:
    """The data's fields in the order in which they appear."""
    return tuple(dict.fromkeys(name for message in messages for record in message.records for name in record.fields()))


def _column(name: str) -> str:
    return f"data.{name}" if name in (*FIXED, EXTRA) else name
