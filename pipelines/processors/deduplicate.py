"""`deduplicate`: of the items with one key the first is stored, over all pages and restarts.

    { use = "deduplicate", key = ["sku", "offer.currency"] }

A SQLite file beside the crawl's state (`<state>.<pipeline>-<hash of the key's fields>.keys`) keeps each key with the id
of its item, so that an item that is delivered again is known for the same one and goes on; with a crawl in memory, so
are the keys. All consumers of the pipeline on this machine share the file; those of another
machine have one of their own, so let the consumers of such a pipeline run on one machine. Put it behind `validate`: of
items with one key the first counts, also if its message is buried later.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from crawler.error import SettingsError
from pipelines.database import Database, Tables
from pipelines.processors import Fields
from pipelines.processors.path import MISSING, at, texts

_TABLES: Final = Tables(
    part="keys",
    version=1,
    statements=("CREATE TABLE key(key BLOB PRIMARY KEY, item TEXT NOT NULL) WITHOUT ROWID",),
)

_encode = msgspec.json.Encoder(order="deterministic").encode


class Deduplicate:
    """`key`: fields that together identify an item; one without any of them is no duplicate. Kinds are told apart.
    `path`: the file, if it is to be another."""

    copies = True

    def __init__(self, *, key: Sequence[str], path: str = "") -> None:
        """Raises SettingsError. The file is opened with the first batch."""
        self._paths = texts("key", key)
        if not self._paths:
            raise SettingsError("key: name at least one field")
        self._path = path
        self._database: Database | None = None
        self._memory: dict[bytes, str] = {}

    def place(self, beside: str) -> None:
        """Begin of the file's path, if the settings do not say it."""
        hashed = blake2b(_encode(self._paths), digest_size=4).hexdigest()
        self._path = self._path or f"{beside}-{hashed}.keys"

    def first(self, items: Sequence[tuple[str, str, Fields]]) -> list[bool]:
        """Whether each item (id, kind, data) is the first with its key, of all that were ever asked for. Raises
        Unavailable, SettingsError. Cost: one transaction, one look-up an item."""
        if not self._path:
            return [self._first(*item) for item in items]
        if self._database is None:
            self._database = Database(self._path, _TABLES)
        answers = []
        with self._database.transaction() as db:
            for id, kind, fields in items:
                key = self._key(kind, fields)
                if key is not None:
                    db.execute("INSERT OR IGNORE INTO key VALUES (?, ?)", (key, id))
                    answers.append(db.execute("SELECT item FROM key WHERE key = ?", (key,)).fetchone()[0] == id)
                else:
                    answers.append(True)
        return answers

    def _first(self, id: str, kind: str, fields: Fields) -> bool:
        key = self._key(kind, fields)
        return key is None or self._memory.setdefault(key, id) == id

    def _key(self, kind: str, fields: Fields) -> bytes | None:
        values = [at(fields, path) for path in self._paths]
        if all(value is MISSING or value is None for value in values):
            return None
        known = [None if value is MISSING else value for value in values]
        return blake2b(_encode([kind, known]), digest_size=16).digest()

    def process(self, fields: Fields, /) -> Fields | None:
        """By its data alone nothing can be told: the chain asks `first`."""
        return fields

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
