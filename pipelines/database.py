"""A store's SQLite file: opened with its tables checked, written in transactions, its errors turned into ours.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed; a power loss may lose the last
transactions, but never the file's consistency. With `fsync` a power loss loses nothing either.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from crawler.error import SettingsError, Unavailable
from crawler.model import Message
from pipelines.output import refusal

BUSY_MS: Final = 10_000
"""How long to wait for another writer of the same file."""

CHECKPOINT_PAGES: Final = 4_000
"""The write-ahead log is copied back when it has grown to so many pages (4 KiB each)."""

_AWAY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
    }
)
"""The file's fault, not the data's: waiting, or somebody's hand, can help."""


class Tables(msgspec.Struct, frozen=True):
    """What a file must hold: its part's name and version, and the statements that make them."""

    part: str
    version: int
    statements: tuple[str, ...]
    upgrades: dict[int, tuple[str, ...]] = {}
    """From a version to the next."""


class Database:
    """One connection for one store. `exclusive`: nobody else may even read; saves locking and the -shm file."""

    def __init__(self, path: str | Path, tables: Tables, *, fsync: bool = False, exclusive: bool = False) -> None:
        """Raises SettingsError (no place for a file, not a database, another version), Unavailable (disk full)."""
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))  # says why, as SQLite does not
        except OSError as error:
            raise refusal(self.path, error) from error
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute(f"PRAGMA busy_timeout = {0 if exclusive else BUSY_MS}")
            if exclusive:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 4096}")
            self._db.execute("PRAGMA cache_size = -16384")
            self._db.execute("PRAGMA secure_delete = 0")
            with self.transaction() as db:
                self._ensure(db, tables)
        except (sqlite3.DatabaseError, Unavailable) as error:
            self._db.close()
            raise self._refusal(error) from error
        except BaseException:
            self._db.close()
            raise

    def _ensure(self, db: sqlite3.Connection, tables: Tables) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS part(name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID")
        found = db.execute("SELECT version FROM part WHERE name = ?", (tables.part,)).fetchone()
        if found is None:
            try:
                for statement in tables.statements:
                    db.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
                raise SettingsError(
                    f"{self.path} holds another program's tables ({error}): give another path"
                ) from None
            db.execute("INSERT INTO part VALUES (?, ?)", (tables.part, tables.version))
        version = tables.version if found is None else found[0]
        while version in tables.upgrades:
            for statement in tables.upgrades[version]:
                db.execute(statement)
            version += 1
            db.execute("UPDATE part SET version = ? WHERE name = ?", (version, tables.part))
        if version != tables.version:
            raise SettingsError(
                f"{self.path}: its {tables.part} has version {version}, this program writes {tables.version}: "
                "give another path, or start over with --fresh"
            )

    def _refusal(self, error: sqlite3.DatabaseError | Unavailable) -> SettingsError | Unavailable:
        cause = error.__cause__ if isinstance(error, Unavailable) else error
        code = cause.sqlite_errorcode & 0xFF if isinstance(cause, sqlite3.Error) else 0
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable(f"{self.path}: another process is writing it")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return SettingsError(f"{self.path} cannot be used ({error}): give another path, or start over with --fresh")
        return Unavailable(f"{self.path}: {error}")

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """Commits at the end, or undoes everything. What is the file's fault (disk full, input/output, locked) comes
        out as Unavailable; what is the data's (too large, not text) as it is."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._undo()
            if error.sqlite_errorcode & 0xFF in _AWAY:
                raise Unavailable(f"{self.path}: {error}") from error
            raise
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:  # SQLite has undone it itself; a later BEGIN says so if not
            return

    def close(self) -> None:
        self._db.close()


def unstored(db: sqlite3.Connection, messages: Sequence[Message], table: str = "stored") -> list[Message]:
    """Those whose ids were not in the table; now they are. Of two with one id in a batch, the first."""
    by_id: dict[str, Message] = {}
    for message in messages:
        by_id.setdefault(message.id, message)
    rows = db.execute(
        f"INSERT OR IGNORE INTO {table} SELECT value FROM json_each(?) RETURNING id", (json.dumps(list(by_id)),)
    ).fetchall()
    if len(rows) == len(by_id):
        return list(by_id.values())
    new = {id for (id,) in rows}
    return [message for id, message in by_id.items() if id in new]
