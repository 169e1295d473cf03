"""Responses kept on disk, so that a spider can be developed without asking the site again and again.

No HTTP cache in the sense of RFC 9111: what is kept is used whatever the server said of its freshness, until it is
older than `max_age_s`. Only the variants that Vary names are told apart, by the request's own headers. Several workers
share the file; each call blocks, for about 0.1 ms.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from multidict import CIMultiDict

from crawler.error import SettingsError, SiteError
from crawler.model import Request
from crawler.response import Response
from crawler.tables_visit import CacheTable
from crawler.url import fingerprint

log = logging.getLogger("crawler.cache")

VERSION: Final = 1
BUSY_MS: Final = 10_000
LEVEL: Final = 1
"""Of compression: bodies shrink to a fifth, in 1 ms for 100 KB."""
WEIGH_EVERY: Final = 100
"""Responses put in between two looks at the size."""
KEEP: Final = 0.9
"""When there is too much, the oldest go until so much of what is allowed is left."""

_TABLE: Final = """CREATE TABLE IF NOT EXISTS response(
    number INTEGER PRIMARY KEY, print INTEGER NOT NULL, form INTEGER NOT NULL, names TEXT NOT NULL,
    variant INTEGER NOT NULL, at_ms INTEGER NOT NULL, size INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL,
    UNIQUE (print, form, names, variant))"""
_FIND: Final = "SELECT names, variant, at_ms, head, body FROM response WHERE print = ? AND form = ? ORDER BY at_ms DESC"
_PUT: Final = """INSERT OR REPLACE INTO response(print, form, names, variant, at_ms, size, head, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_TRIM: Final = """DELETE FROM response WHERE number IN (SELECT number FROM (
    SELECT number, sum(size) OVER (ORDER BY number DESC) AS above FROM response) WHERE above > ?)"""


class _Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of a response but its body, or the error that it was."""

    response: Response | None = None
    headers: tuple[tuple[str, str], ...] = ()
    error: str = ""
    detail: str = ""
    status: int = 0


class Cache:
    """One worker's view of the file. Not thread-safe."""

    def __init__(self, table: CacheTable, form: Iterable[str] = ()) -> None:
        """`form`: settings that decide what becomes of an answer: what was kept under others does not count. Raises
        SettingsError when the file cannot be made or is another program's."""
        self._max_age_ms = table.max_age_s * 1000
        self._bytes_max = table.bytes_max
        self._form = _hash("\n".join(form))
        self._puts = 0
        path = Path(table.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"[cache] path {path}: cannot be used as a cache ({error})") from error

    def get(self, request: Request, *, robots: bool = False) -> Response | SiteError | None:
        """What was kept of this request: the answer, or the error that it meant. None: nothing, or too old."""
        try:
            rows = self._db.execute(_FIND, (fingerprint(request), self._form + robots)).fetchall()
        except sqlite3.Error as error:
            log.warning("the cache cannot be read: %s", error)
            return None
        oldest = time.time() * 1000 - self._max_age_ms if self._max_age_ms else 0
        for names, variant, at_ms, head, body in rows:
            if variant == _variant(names, request) and at_ms >= oldest:
                return _response(head, body)
        return None

    def put(self, request: Request, answer: Response | SiteError, *, robots: bool = False) -> None:
        """Keep an answer, if it is one that would come again: no 304, no failure but a final one with a status."""
        if isinstance(answer, SiteError):
            if not (answer.final and 400 <= answer.status < 500):
                return
            head = _Head(error=answer.reason, detail=answer.detail, status=answer.status)
            body, names = b"", ""
        else:
            names = _names(answer.headers)
            if answer.status == 304 or names == "*":
                return
            pairs = tuple((str(name), _plain(value)) for name, value in answer.headers.items() if name != "Set-Cookie")
            head = _Head(response=msgspec.structs.replace(answer, headers={}, body=b""), headers=pairs)
            body = zlib.compress(answer.body, LEVEL)
        at_ms, packed = round(time.time() * 1000), msgspec.msgpack.encode(head)
        row = (fingerprint(request), self._form + robots, names, _variant(names, request), at_ms)
        try:
            self._db.execute(_PUT, (*row, len(packed) + len(body), packed, body))
            self._puts += 1
            if self._puts % WEIGH_EVERY == 1 and self._is_full():
                self._db.execute(_TRIM, (round(self._bytes_max * KEEP),))
        except sqlite3.Error as error:
            log.warning("the cache cannot be written: %s", error)

    def close(self) -> None:
        self._db.close()

    def _is_full(self) -> bool:
        (size,) = self._db.execute("SELECT total(size) FROM response").fetchone()
        return bool(size > self._bytes_max)


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")  # what a power loss takes is fetched again
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if tables - {"response"}:
            raise sqlite3.DatabaseError("it holds another program's tables")
        if version != VERSION:
            db.execute("DROP TABLE IF EXISTS response")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute(_TABLE)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _response(packed: bytes, body: bytes) -> Response | SiteError | None:
    try:
        head = msgspec.msgpack.decode(packed, type=_Head)
        if head.response is None:
            return SiteError(head.error, head.detail, final=True, status=head.status)
        headers: Mapping[str, str] = CIMultiDict(head.headers)
        return msgspec.structs.replace(head.response, headers=headers, body=zlib.decompress(body), kept=True)
    except (msgspec.MsgspecError, zlib.error) as error:
        log.warning("a damaged response in the cache: %s", error)
        return None


def _names(headers: Mapping[str, str]) -> str:
    """The request headers that Vary names (RFC 9110 §12.5.5), in lower case and in order; `*` for anything."""
    names = sorted({name.strip().lower() for name in headers.get("Vary", "").split(",")} - {""})
    return "*" if "*" in names else ",".join(names)


def _variant(names: str, request: Request) -> int:
    wanted = names.split(",") if names else []
    values = [f"{name.lower()}: {value.strip()}" for name, value in request.headers if name.lower() in wanted]
    return _hash("\n".join(sorted(values))) if values else 0


def _plain(value: str) -> str:
    """Header bytes that are no UTF-8 come as surrogates, which cannot be kept."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1") if not value.isascii() else value


def _hash(text: str) -> int:
    """Even, so that one more is free for robots.txt."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), signed=True) & ~1
