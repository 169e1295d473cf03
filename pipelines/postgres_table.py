"""The two tables that a PostgreSQL pipeline writes, as SQL: made where they are missing, else checked. `<table>` has
the items, `<table>_message` the ids of the messages stored.

    id text · kind text · url text · fetched_at timestamptz · spider text · data jsonb
    id text · kind text · url text · fetched_at timestamptz · spider text · the user's columns · extra jsonb
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg

from crawler.error import SettingsError
from crawler.strict import did_you_mean
from pipelines.postgres_rows import Column

FIXED: Final = {"id": "text", "kind": "text", "url": "text", "fetched_at": "timestamptz", "spider": "text"}
DATA: Final = "data"
EXTRA: Final = "extra"

NAME_BYTES_MAX: Final = 63
"""Of an identifier; PostgreSQL cuts longer ones off."""

_MESSAGE: Final = "_message"
_STAGING: Final = "pg_temp.crawler_staging"
_TYPE: Final = re.compile(r'[A-Za-z_"][\w ."]*(\([\d, ]+\)[A-Za-z ]*)?(\[\d*\])*')
_LOCK: Final = 0x637261776C6572
"""Whoever makes or checks tables holds this advisory lock: of several consumers one makes them."""


def columns_of(option: Mapping[str, Any]) -> tuple[Column, ...]:
    """The option `columns`: column -> type, or column -> {type, field} where the item's field has another name.

    Raises SettingsError."""
    columns = []
    for name, value in option.items():
        about = {"type": value} if isinstance(value, str) else value
        where = f"columns: {name}"
        if not isinstance(about, Mapping) or not isinstance(about.get("type"), str):
            raise SettingsError(f'{where}: expected a type, as in {name} = "text", or {{type = "text", field = "…"}}')
        for key in about:
            if key not in ("type", "field"):
                raise SettingsError(f"{where}: unknown key {key}; {did_you_mean(key, ('type', 'field'))}")
        if not _TYPE.fullmatch(about["type"]):
            raise SettingsError(f"{where}: {about['type']!r} is not the name of a PostgreSQL type")
        if name in (*FIXED, EXTRA):
            raise SettingsError(
                f"{where}: every table has a column of this name; choose another, with field = {name!r}"
            )
        columns.append(Column(name, about["type"], str(about.get("field", name))))
    return tuple(columns)


class PostgresTable:
    """The SQL for one table. `key` empty: the first of an item's id wins; else of each key what was fetched last."""

    def __init__(self, table: str, columns: Sequence[Column], key: Sequence[str]) -> None:
        """Raises SettingsError for a name that cannot be one, and a key that is no column."""
        self.name = table
        parts = table.split(".")
        if len(parts) > 2 or not all(parts) or "\0" in table:
            raise SettingsError(f"table = {table!r}: expected NAME or SCHEMA.NAME")
        if len(f"{parts[-1]}{_MESSAGE}".encode()) > NAME_BYTES_MAX:
            raise SettingsError(f"table = {table!r}: longer than {NAME_BYTES_MAX - len(_MESSAGE)} bytes")
        own = {column.name: column.type for column in columns}
        self.types = {**FIXED, **own, EXTRA: "jsonb"} if own else {**FIXED, DATA: "jsonb"}
        for name in key:
            if name not in self.types or name in (EXTRA, DATA):
                raise SettingsError(f"key: {name} is not a column; {did_you_mean(name, [*FIXED, *own])}")
        self._items = ".".join(map(_quoted, parts))
        self._messages = ".".join(map(_quoted, (*parts[:-1], f"{parts[-1]}{_MESSAGE}")))
        self._own, self._key = own, tuple(key)
        self.store = self._store()
        """From the staging table into the items'."""
        self.note = (
            f"INSERT INTO {self._messages} SELECT DISTINCT unnest(%s::text[]) ORDER BY 1 "
            "ON CONFLICT DO NOTHING RETURNING id"
        )
        """Of these ids those that were not stored; now they are. In order, so that two consumers cannot deadlock."""

    def copy(self, column: str | None = None) -> str:
        """Into the staging table: whole rows, or one column alone."""
        return f"COPY {_STAGING} {'' if column is None else f'({_quoted(column)})'} FROM STDIN"

    def _store(self) -> str:
        names = ", ".join(map(_quoted, self.types))
        into = f"INSERT INTO {self._items} AS held ({names}) SELECT"
        if not self._key:
            return f"{into} {names} FROM {_STAGING} ORDER BY crawler_row ON CONFLICT (id) DO NOTHING"
        key = ", ".join(map(_quoted, self._key))
        changes = ", ".join(f"{name} = excluded.{name}" for name in map(_quoted, self.types))
        return (
            f"{into} DISTINCT ON ({key}) {names} FROM {_STAGING} ORDER BY {key}, fetched_at DESC, crawler_row DESC "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE held.fetched_at <= excluded.fetched_at"
        )

    def prepare(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Make what is missing, check what is there, and give this connection its staging table.

        Raises SettingsError for tables that do not fit, psycopg.Error."""
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            self._make_staging(connection)
            for place, statement in ((self._items, self._create()), (self._messages, self._create_messages())):
                if not _columns(connection, place):
                    try:
                        with connection.transaction():
                            connection.execute(statement)
                    except psycopg.ProgrammingError as error:
                        raise SettingsError(
                            f"table {place} cannot be made: {error.diag.message_primary}. Make it by hand, or get the "
                            f"right to: {statement}"
                        ) from error
            self._check(connection)
            try:  # of no rows: says now whether there is a right to write, and what ON CONFLICT needs
                connection.execute(self.note, ([],))
                connection.execute(self.store)
            except psycopg.ProgrammingError as error:
                raise self._refusal(error) from error

    def _make_staging(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        columns = ", ".join(f"{_quoted(name)} {type}" for name, type in self.types.items())
        try:
            with connection.transaction():
                connection.execute(
                    f"CREATE TEMPORARY TABLE {_STAGING} (crawler_row integer, {columns}) ON COMMIT DELETE ROWS"
                )
        except psycopg.ProgrammingError as error:
            raise SettingsError(f"columns: {error.diag.message_primary}") from error

    def _create(self) -> str:
        """The user's columns and `extra` may be null, but not what is the key."""
        key = ", ".join(map(_quoted, self._key or ("id",)))
        columns = [
            f"{_quoted(name)} {type}{'' if name in self._own or name == EXTRA else ' NOT NULL'}"
            for name, type in self.types.items()
        ]
        return f"CREATE TABLE {self._items} ({', '.join(columns)}, PRIMARY KEY ({key}))"

    def _create_messages(self) -> str:
        return f"CREATE TABLE {self._messages} (id text PRIMARY KEY)"

    def _check(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        wanted = _columns(connection, _STAGING)
        found = _columns(connection, self._items)
        for name in self.types:
            type = wanted[name][0]
            if name not in found:
                raise SettingsError(
                    f"table {self.name} has no column {name} ({type}): ALTER TABLE {self._items} "
                    f"ADD COLUMN {_quoted(name)} {type}, or set another `table`"
                )
            if found[name][0] != type:
                raise SettingsError(
                    f"table {self.name}: its column {name} is {found[name][0]}, and should be {type}: change "
                    f"`columns`, or ALTER TABLE {self._items} ALTER COLUMN {_quoted(name)} TYPE {type}, or set "
                    "another `table`"
                )
        for name, (type, needed) in found.items():
            if needed and name not in self.types:
                raise SettingsError(
                    f"table {self.name}: its column {name} ({type}) may not be null and has no default, but nothing "
                    "is written there: give it a default, add it to `columns`, or set another `table`"
                )
        if _columns(connection, self._messages).get("id", ("",))[0] != "text":
            raise SettingsError(f"table {self._messages} has no column id (text): rename it, or set another `table`")

    def _refusal(self, error: psycopg.Error) -> SettingsError:
        if isinstance(error, psycopg.errors.InvalidColumnReference):
            key = ", ".join(map(_quoted, self._key or ("id",)))
            return SettingsError(
                f"table {self.name} does not keep ({key}) unique: ALTER TABLE {self._items} ADD UNIQUE ({key})"
            )
        return SettingsError(f"table {self.name}: {error.diag.message_primary}")


def _columns(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> dict[str, tuple[str, bool]]:
    """Of each column its type as PostgreSQL writes it, and whether a value must be given. Empty: no such table."""
    rows = connection.execute(
        """SELECT attname, format_type(atttypid, atttypmod),
               attnotnull AND NOT atthasdef AND attidentity = ''
           FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped""",
        (place,),
    ).fetchall()
    return {name: (type, needed) for name, type, needed in rows}


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
