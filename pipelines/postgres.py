"""Items in a PostgreSQL table, one transaction a batch. Needs the extra `postgres`.

SELECT url, data ->> 'title' FROM items WHERE kind = 'page';

The rows come by COPY into a temporary table, and from there into the items' table: so one statement says what happens
to an id or key that is there already, and a value that fits no column is found before it touches the table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import psycopg

from crawler.error import Reject, SettingsError, StoreError, Unavailable
from crawler.model import Message
from pipelines.postgres_rows import Rows
from pipelines.postgres_server import Server, blames_data
from pipelines.postgres_table import PostgresTable, columns_of

Connection = psycopg.Connection[tuple[Any, ...]]


class Postgres:
    """Any number of writers. `dsn`: a URL or conninfo (libpq 34.1.1; TLS by its sslmode, sslrootcert, …); what it lacks
    comes from libpq's PG variables. `password`, or the first line of `password_file`, where it is not in the dsn.

    `table`: NAME or SCHEMA.NAME, exactly as written. `columns`: column -> type, or -> {type, field}; without them the
    whole item is in one column `data` (jsonb). Fields without a column are in the column `extra`.

    `on_conflict = "update"` keeps of each `key` (names of columns) the item fetched last, for a view of how things are;
    "skip" keeps every item, the first of each id. `unstorable = "replace"` puts U+FFFD for what PostgreSQL cannot
    store (U+0000, single surrogates); "reject" refuses such a message. `connect_s`, `statement_s`: seconds."""

    writers = 0

    def __init__(
        self,
        *,
        dsn: str = "",
        password: str = "",
        password_file: str = "",
        table: str = "items",
        columns: Mapping[str, Any] | None = None,
        on_conflict: Literal["skip", "update"] = "skip",
        key: Sequence[str] = (),
        unstorable: Literal["reject", "replace"] = "reject",
        connect_s: float = 10.0,
        statement_s: float = 60.0,
    ) -> None:
        """Makes the tables, or checks them. Raises SettingsError when an option is wrong, the server refuses user,
        password or database, or the tables do not fit; Unavailable when the server is away."""
        _check_choice("on_conflict", on_conflict, ("skip", "update"))
        _check_choice("unstorable", unstorable, ("reject", "replace"))
        if (on_conflict == "update") != bool(key):
            raise SettingsError('key and on_conflict = "update" go together: the columns of which the latest is kept')
        self._columns = columns_of(columns or {})
        self._table = PostgresTable(table, self._columns, key)
        self._rows = Rows(self._columns, replace=unstorable == "replace")
        self._server = Server(dsn, password, password_file, connect_s=connect_s, statement_s=statement_s)
        self._connection: Connection | None = None
        self._pid = 0
        try:
            self._connected()
        except psycopg.Error as error:
            raise self._server.refused(error) from None

    def store(self, messages: Sequence[Message]) -> None:
        """Cost: six round trips a batch; about 6 µs here and 25 µs in the server for each item of 1 KB. Raises Reject
        for the messages that do not fit, Unavailable when the server is away, shutting down, full or busy."""
        try:
            connection = self._connected()
            with connection.transaction():
                fresh = self._fresh(connection, messages)
                if rows := self._rows.render(fresh):
                    self._put(connection, rows)
        except psycopg.Error as error:
            if not blames_data(error):
                raise self._away(error) from None
            raise self._blame(error, messages) from None
        except SettingsError as error:  # of a table changed while we were away: somebody's hand can help
            self.close()
            raise Unavailable(str(error)) from None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        """The connection, or a new one. Raises psycopg.Error, SettingsError."""
        if self._connection is None or self._connection.closed or self._pid != os.getpid():
            connection = self._server.connect()
            try:
                self._table.prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._pid = connection, os.getpid()
        return self._connection

    def _away(self, error: psycopg.Error) -> Unavailable:
        """What the connection is worth now is not known: the next batch has a new one."""
        self.close()
        return self._server.away(error)

    def _fresh(self, connection: Connection, messages: Sequence[Message]) -> list[Message]:
        """Those not stored yet, which are noted as stored. Of two with one id in a batch, the first."""
        by_id: dict[str, Message] = {}
        for message in messages:
            by_id.setdefault(message.id, message)
        new = {id for (id,) in connection.execute(self._table.note, (list(by_id),)).fetchall()}
        return [message for id, message in by_id.items() if id in new]

    def _put(self, connection: Connection, rows: bytes) -> None:
        with connection.cursor() as cursor:
            with cursor.copy(self._table.copy()) as copy:
                copy.write(rows)
            cursor.execute(self._table.store)

    def _blame(self, error: psycopg.Error, messages: Sequence[Message]) -> StoreError:
        """The message whose values the server refuses, and why, found by halves: server messages name rows in the
        server's language only. Whatever is right with it alone is not to blame: then the batch is the consumer's to
        split."""
        try:
            part = list(messages)
            while len(part) > 1:
                half = part[: len(part) // 2]
                part = half if self._spoils(half) is not None else part[len(half) :]
            found = self._spoils(part) if part else None
            if found is None:
                return StoreError(f"{self._table.name}: {self._server.words(error)}")
            return Reject(self._reason(found, part[0]), frozenset({part[0].id}))
        except psycopg.Error as away:
            return self._away(away)

    def _spoils(self, messages: Sequence[Message]) -> psycopg.Error | None:
        """Try, and undo. Raises psycopg.Error when the server is at fault."""
        connection = self._connected()
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(self._table.note, ([message.id for message in messages],))
                self._put(connection, self._rows.render(messages))
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            if blames_data(error):
                return error
            raise
        return None

    def _reason(self, error: psycopg.Error, message: Message) -> str:
        column = error.diag.column_name or self._column(message)
        return f"table {self._table.name}{f', column {column}' if column else ''}: {self._server.words(error)}"

    def _column(self, message: Message) -> str:
        """The first column that does not take its value by itself; empty when each does."""
        for row in self._rows.of(message):
            cells = row.rstrip(b"\n").split(b"\t")[1:]
            for name, value in zip(self._table.types, cells, strict=True):
                try:
                    connection = self._connected()
                    with (
                        connection.transaction(force_rollback=True),
                        connection.cursor().copy(self._table.copy(name)) as copy,
                    ):
                        copy.write(value + b"\n")
                except psycopg.Error as error:
                    if blames_data(error):
                        return name
                    raise
        return ""


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SettingsError(f'{option} = "{value}": expected {" or ".join(choices)}')
