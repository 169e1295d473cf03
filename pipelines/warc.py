"""Whole pages as web archive files: WARC/1.1 (ISO 28500:2017), which every archive tool reads.

    warcio check pages.warc.gz          warcio index pages.warc.gz

Each message becomes a response (or revisit), a request and a metadata record, stored together, once. Records are gzip
members of their own, so the file is a whole number of records after any kill. Request headers come without the values
of Authorization, Proxy-Authorization and Cookie.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.error import Reject, SettingsError
from crawler.model import RAW_KIND, Message
from pipelines.database import Database, Tables
from pipelines.segment import Segment
from pipelines.shelf import File
from pipelines.warcrecord import Original, RawPage, Scribe, read

ROTATE_BYTES: Final = 1_000_000_000
"""As is usual for web archives."""

DIGESTS: Final = ".digests"
"""Ending of the file beside the archive that knows which payloads are in it."""

_TABLES: Final = Tables(
    part="digests",
    version=1,
    statements=(
        "CREATE TABLE payload(digest TEXT PRIMARY KEY, id TEXT NOT NULL, url TEXT NOT NULL, date TEXT NOT NULL)"
        " WITHOUT ROWID",
    ),
)


class Warc:
    """`path`: the file that grows, `pages.warc.gz` (or `.warc`: plain), put away as `pages-000001.warc.gz` before it
    is written to again with `rotate_bytes` or more, or `rotate_s` old (0: never). `revisits`: a payload that is in the
    archive already is not stored again, only referred to. `level`: of compression, 1 to 9. `info`: more fields of each
    file's warcinfo record, as `operator`. `fsync`: survive a power loss too, for a disk flush a batch."""

    writers = 1
    takes = "raw"
    requires = ("warcio",)

    def __init__(
        self,
        *,
        path: str,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_s: float = 0.0,
        revisits: bool = False,
        level: int = 6,
        info: Mapping[str, str] | None = None,
        fsync: bool = False,
    ) -> None:
        """Raises SettingsError when file and index do not belong together or cannot be written, or for a wrong option;
        Unavailable when the disk is full."""
        self._info = dict(info or {})
        if not 1 <= level <= 9:
            raise SettingsError(f"level = {level}: expected 1 to 9")
        if not all(isinstance(value, str) and ":" not in name for name, value in self._info.items()):
            raise SettingsError("info: expected names without colons, and texts")
        fresh = not os.path.exists(f"{os.path.realpath(path)}.index")
        self._scribe = Scribe(gzip=path.endswith(".gz"), level=level)
        self._segment = Segment(path, fsync=fsync, rotate_bytes=rotate_bytes, rotate_s=rotate_s, compression="none")
        self._payloads = _Payloads(f"{self._segment.path}{DIGESTS}", fresh=fresh, fsync=fsync) if revisits else None

    def store(self, messages: Sequence[Message]) -> None:
        """Raises Reject for messages that are no raw pages, Unavailable when the disk is full. Cost: about 0.5 ms a
        page of 40 KB, most of it compression."""
        pages, foreign = _read(messages)
        if foreign:
            raise Reject("not_raw", frozenset(foreign))
        written: dict[str, Original] = {}
        known = self._payloads.find(pages.values()) if self._payloads is not None else {}

        def render(fresh: Sequence[Message], file: File) -> bytes:
            parts = [self._scribe.info(pages[fresh[0].id], self._info)] if file.empty else []
            for message in fresh:
                page = pages[message.id]
                original = known.get(page.digest) or written.get(page.digest)
                if self._payloads is None or not message.blob:
                    original = None
                elif original is None or original.id == page.response_id:
                    original = None
                    written[page.digest] = page.as_original()
                parts.append(self._scribe.page(page, original))
            return b"".join(parts)

        self._segment.append(messages, render)
        if self._payloads is not None:
            # After the records: a kill in between costs a payload stored twice, never a reference to nothing.
            self._payloads.note(written)

    def close(self) -> None:
        self._segment.close()
        if self._payloads is not None:
            self._payloads.close()


def _read(messages: Sequence[Message]) -> tuple[dict[str, RawPage], list[str]]:
    """By id, the first of each; and the ids of those that are no raw pages."""
    pages: dict[str, RawPage] = {}
    foreign = []
    for message in messages:
        if message.id in pages:
            continue
        try:
            if message.kind != RAW_KIND:
                raise ValueError(message.kind)
            pages[message.id] = read(message)
        except (ValueError, OverflowError, msgspec.MsgspecError):
            foreign.append(message.id)
    return pages, foreign


class _Payloads:
    """Which response holds a payload, by digest. Takes disk, not memory."""

    def __init__(self, path: str | Path, *, fresh: bool, fsync: bool) -> None:
        """`fresh`: the archive is new, so it holds none. Raises SettingsError, Unavailable."""
        self._db = Database(path, _TABLES, fsync=fsync, exclusive=True)
        if fresh:
            with self._db.transaction() as db:
                db.execute("DELETE FROM payload")

    def find(self, pages: Iterable[RawPage]) -> dict[str, Original]:
        """One statement. Raises Unavailable."""
        digests = json.dumps([page.digest for page in pages])
        with self._db.transaction() as db:
            rows = db.execute(
                "SELECT digest, id, url, date FROM payload WHERE digest IN (SELECT value FROM json_each(?))", (digests,)
            ).fetchall()
        return {digest: Original(id, url, date) for digest, id, url, date in rows}

    def note(self, written: Mapping[str, Original]) -> None:
        rows = [(digest, one.id, one.url, one.date) for digest, one in written.items()]
        if rows:
            with self._db.transaction() as db:
                db.executemany("INSERT OR IGNORE INTO payload VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._db.close()
