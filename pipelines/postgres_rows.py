"""Messages as rows in the text format of PostgreSQL's COPY: one line a row, fields with a tab between, `\\N` for null.
Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from crawler.error import Reject
from crawler.model import Message, Record

NULL: Final = b"\\N"

_ESCAPES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""In JSON text: an escaped backslash, a pair of surrogates, or (the group) what PostgreSQL has no place for."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_values = msgspec.json.Decoder(list[msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


class Column(NamedTuple):
    """A column of the user's, and the item's field that goes there."""

    name: str
    type: str
    field: str

    @property
    def takes_json(self) -> bool:
        return self.type.strip().lower() in ("json", "jsonb")


class Unfit(Exception):
    """An item that cannot become a row, with the reason."""


class Rows:
    """How items become rows: `id kind url fetched_at spider`, then either `data` or the columns and `extra`."""

    def __init__(self, columns: Sequence[Column], *, replace: bool) -> None:
        """`replace`: U+0000 and single surrogates become U+FFFD; else they are a reason to refuse."""
        self._columns = tuple(columns)
        self._taken = frozenset(column.field for column in columns)
        self._replace = replace

    def render(self, messages: Sequence[Message]) -> bytes:
        """The rows, numbered in the first field. Raises Reject with all messages of the first one's reason."""
        parts: list[bytes] = []
        refused: dict[str, set[str]] = {}
        for message in messages:
            try:
                parts += self.of(message, len(parts))
            except Unfit as error:
                refused.setdefault(str(error), set()).add(message.id)
        for reason, ids in refused.items():
            raise Reject(reason, frozenset(ids))
        return b"".join(parts)

    def of(self, message: Message, number: int = 0) -> list[bytes]:
        """One message's rows. Raises Unfit."""
        head = b"\t".join([_text(value) for value in (message.kind, message.url, message.fetched_at, message.spider)])
        rows = []
        for index, record in enumerate(message.records, number):
            cells = b"\t".join(self.cells(record)) if self._columns else _escaped(self._clean(bytes(record.data)))
            rows.append(b"%d\t%b\t%b\t%b\n" % (index, _text(record.id), head, cells))
        return rows

    def cells(self, record: Record) -> list[bytes]:
        """The columns' fields, in order, and `extra`: what has no column, as a JSON object. Raises Unfit."""
        try:
            fields: dict[str, msgspec.Raw] = _fields(self._clean(bytes(record.data)))
            cells = [cell(bytes(fields.get(column.field, b"null")), column) for column in self._columns]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unfit(f"the data is no JSON object: {error}") from None
        rest = {name: raw for name, raw in fields.items() if name not in self._taken}
        return [*cells, _escaped(msgspec.json.encode(rest)) if rest else NULL]

    def _clean(self, data: bytes) -> bytes:
        """JSON text that PostgreSQL can keep. Raises Unfit."""
        if b"\\u0000" not in data and b"\\ud" not in data and b"\\uD" not in data:
            return data
        if not self._replace:
            if any(found[1] for found in _ESCAPES.finditer(data)):
                raise Unfit(
                    "the data has a character that PostgreSQL cannot store (U+0000 or a single surrogate); "
                    'unstorable = "replace" stores U+FFFD in its place'
                )
            return data
        return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], data)


def cell(raw: bytes, column: Column) -> bytes:
    """One JSON value as a field of COPY: numbers keep all their digits, strings lose their quotes, a list becomes an
    array if the column is one; anything else is JSON text. Raises what msgspec does."""
    if raw == b"null":
        return NULL
    if column.takes_json:
        return _escaped(raw)
    if raw[:1] == b'"':
        return _escaped(_string(raw).encode())
    if raw[:1] == b"[" and column.type.rstrip().endswith("]"):
        return _escaped(_array(raw).encode())
    return _escaped(raw)


def _array(raw: bytes) -> str:
    """A list as PostgreSQL's array literal (PostgreSQL, 8.15.6)."""
    return f"{{{','.join([_element(bytes(value)) for value in _values(raw)])}}}"


def _element(raw: bytes) -> str:
    if raw == b"null":
        return "NULL"
    if raw[:1] == b"[":
        return _array(raw)
    if raw[:1] not in (b'"', b"{"):
        return raw.decode()
    text = _string(raw) if raw[:1] == b'"' else raw.decode()
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _text(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise Unfit(f"{value[:80]!r} is not text that PostgreSQL can store") from None
    if b"\0" in data:
        raise Unfit(f"{value[:80]!r} has a character U+0000, which PostgreSQL cannot store")
    return _escaped(data)


def _escaped(data: bytes) -> bytes:
    if b"\\" in data:
        data = data.replace(b"\\", b"\\\\")
    if b"\n" in data:
        data = data.replace(b"\n", b"\\n")
    if b"\r" in data:
        data = data.replace(b"\r", b"\\r")
    if b"\t" in data:
        data = data.replace(b"\t", b"\\t")
    return data
