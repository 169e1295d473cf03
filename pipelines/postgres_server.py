"""Which PostgreSQL server a pipeline writes to, how a connection to it is made, and what its errors mean.

A password never stands in a message, a repr or a traceback of ours: `Server.shown` is what people get to see.
"""

from __future__ import annotations

import os
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from crawler.error import SettingsError, Unavailable

WORDS_CHARS_MAX: Final = 300
"""Of a server's error message: values from the web stand in it."""

_OF_THE_DATA: Final = frozenset({"22", "23", "44", "54", "P0"})
"""Classes of SQLSTATE (PostgreSQL, appendix A) that blame the values: a data exception, a violated constraint, a view's
check option, a program limit, a trigger's refusal. All others can pass, or somebody's hand can help."""

_FOR_GOOD: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "does not support SSL",
    "certificate",
    "requirepeer",
)
"""In the words of a refused connection, which come without SQLSTATE: waiting is no help. In another language than
English they are not known, and the store waits, with a warning each time."""


class Server:
    """Where to connect to, with what password. Frozen in effect; its repr shows no secret."""

    def __init__(self, dsn: str, password: str, password_file: str, *, connect_s: float, statement_s: float) -> None:
        """Raises SettingsError when the dsn or the password file is not right, or two passwords are given."""
        given = _parsed(dsn)
        _check_place(given)
        named = [
            name
            for name, value in (
                ("dsn", given.get("password")),
                ("password", password),
                ("password_file", password_file),
            )
            if value
        ]
        if len(named) > 1:
            raise SettingsError(f"{' and '.join(named)}: both give a password; keep one of them")
        if secret := password or (_from_file(password_file) if password_file else ""):
            given["password"] = secret
        self._secret = str(given.get("password") or "")
        self._statement_ms = round(statement_s * 1000)
        several = "," in str(given.get("host") or given.get("hostaddr") or "")
        self._parameters: dict[str, Any] = {
            "application_name": "crawler",
            "connect_timeout": max(1, round(connect_s)),
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # Of several servers the one that may write, also after another has taken over.
            **({"target_session_attrs": "read-write"} if several else {}),
            **given,
            "client_encoding": "UTF8",
        }
        self.shown = _shown(given)

    def __repr__(self) -> str:
        return f"Server({self.shown})"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection, autocommit. Raises psycopg.Error."""
        connection = psycopg.connect(**self._parameters, autocommit=True)
        try:
            connection.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
                " set_config('client_min_messages', 'error', false), set_config('TimeZone', 'UTC', false)",
                (str(self._statement_ms), str(self._statement_ms)),
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def refused(self, error: psycopg.Error) -> SettingsError | Unavailable:
        """An error at connecting for the first time, as one of ours."""
        text = f"{self.shown}: {self.words(error)}"
        if error.sqlstate is None and any(words in str(error) for words in _FOR_GOOD):
            return SettingsError(f"{text}. See dsn, password and password_file")
        return Unavailable(text)

    def away(self, error: psycopg.Error) -> Unavailable:
        return Unavailable(f"{self.shown}: {self.words(error)}")

    def words(self, error: psycopg.Error) -> str:
        """What the server says, in one short line without the password."""
        text = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        if self._secret:
            text = text.replace(self._secret, "***")
        return text if len(text) <= WORDS_CHARS_MAX else f"{text[: WORDS_CHARS_MAX - 1]}…"


def blames_data(error: psycopg.Error) -> bool:
    """Whether the values are at fault, so that waiting is no help."""
    return error.sqlstate is not None and error.sqlstate[:2] in _OF_THE_DATA


def _parsed(dsn: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        pass  # its words may quote a part of the password
    raise SettingsError(
        "dsn is no connection string (it may hold a password, so it is not shown): expected "
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=HOST dbname=DATABASE …; in a URL the characters "
        "@ : / ? # % of a password are written %40 %3A %2F %3F %23 %25"
    )


def _check_place(given: dict[str, Any]) -> None:
    """A password that is not percent-encoded is taken for host and port, which would be shown."""
    ports, hosts = str(given.get("port") or ""), str(given.get("host") or "")
    if not f"0{ports}".replace(",", "").isdigit() or "@" in hosts:
        raise SettingsError(
            "dsn has no valid host and port (a password may have become part of them, so they are not shown): in a URL "
            "the characters @ : / ? # % of a password are written %40 %3A %2F %3F %23 %25"
        )


def _from_file(path: str) -> str:
    """The first line of a password file."""
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"password_file {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"password_file {path}: its first line is not text in UTF-8") from None
    if not line:
        raise SettingsError(f"password_file {path}: its first line, the password, is empty")
    return line


def _shown(given: dict[str, Any]) -> str:
    """As a URL without password; what is not given comes from libpq's variables."""
    user = str(given.get("user") or os.environ.get("PGUSER") or "")
    host = str(given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "")
    port = str(given.get("port") or os.environ.get("PGPORT") or "")
    database = str(given.get("dbname") or os.environ.get("PGDATABASE") or user)
    return f"postgresql://{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{database}"
