"""What a segment's index knows of its files: those that grow, and those put away."""

from __future__ import annotations

import json
import sqlite3
from typing import Final, Self

import msgspec

from pipelines.database import Tables

TABLES: Final = Tables(
    part="segment",
    version=2,
    statements=(
        """CREATE TABLE file(name TEXT PRIMARY KEY, length INTEGER NOT NULL, columns TEXT NOT NULL, day TEXT NOT NULL,
            begun_s REAL NOT NULL, number INTEGER NOT NULL, moving INTEGER NOT NULL) WITHOUT ROWID""",
        # Put away: nothing is written to them again, and anybody may take them.
        "CREATE TABLE whole(name TEXT PRIMARY KEY, length INTEGER NOT NULL, columns TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE stored(id TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
)


class File(msgspec.Struct):
    """A file that grows. It changes with its row, so it is no frozen value."""

    name: str
    """Without its folder."""
    length: int = 0
    """Committed."""
    columns: tuple[str, ...] = ()
    day: str = ""
    begun_s: float = 0.0
    """When it got its first bytes (Unix time); 0: it is empty."""
    number: int = 0
    """Of the last one put away."""
    moving: int = 0
    """It is being put away under this number."""

    @property
    def empty(self) -> bool:
        return self.length == 0

    def note(self, db: sqlite3.Connection, length: int, begun_s: float) -> None:
        """The row as it is once the transaction is committed."""
        db.execute(
            "UPDATE file SET length = ?, columns = ?, begun_s = ? WHERE name = ?",
            (length, json.dumps(self.columns), begun_s, self.name),
        )

    def move(self, db: sqlite3.Connection, number: int) -> None:
        self.moving = number
        db.execute("UPDATE file SET moving = ? WHERE name = ?", (number, self.name))


class Shelf:
    """The rows of the files that grow."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Self:
        shelf = cls()
        for name, length, columns, day, begun_s, number, moving in db.execute(
            "SELECT name, length, columns, day, begun_s, number, moving FROM file"
        ):
            shelf.files[name] = File(name, length, tuple(json.loads(columns)), day, begun_s, number, moving)
        return shelf

    def take(self, db: sqlite3.Connection, name: str, day: str, *, there: bool) -> File | None:
        """A new row. None: `there` is a file of that name, but it was not put away by this store."""
        found = db.execute("SELECT length, columns FROM whole WHERE name = ?", (name,)).fetchone()
        if there and found is None:
            return None
        length, columns = found if found is not None and there else (0, "[]")
        db.execute("DELETE FROM whole WHERE name = ?", (name,))
        db.execute("INSERT INTO file VALUES (?, ?, ?, ?, 0, 0, 0)", (name, length, columns, day))
        return File(name, length, tuple(json.loads(columns)), day)

    def shelve(self, db: sqlite3.Connection, file: File) -> None:
        """The file is whole, under its own name."""
        db.execute("DELETE FROM file WHERE name = ?", (file.name,))
        if file.length:
            db.execute(
                "INSERT OR REPLACE INTO whole VALUES (?, ?, ?)", (file.name, file.length, json.dumps(file.columns))
            )
        self.files.pop(file.name, None)

    def moved(self, db: sqlite3.Connection, file: File, name: str) -> None:
        """The file is whole, under the new name; the next one has its columns."""
        db.execute("INSERT OR REPLACE INTO whole VALUES (?, ?, ?)", (name, file.length, json.dumps(file.columns)))
        file.length, file.begun_s, file.number, file.moving = 0, 0.0, file.moving, 0
        db.execute(
            "UPDATE file SET length = 0, begun_s = 0, number = ?, moving = 0 WHERE name = ?", (file.number, file.name)
        )
