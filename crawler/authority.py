"""What stands before the path of a server's URL, and beside it in settings: user, password, hosts, files for TLS.

The same for every server. Source: RFC 3986 §3.2 (authority), with several hosts separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import unquote

from crawler.error import SettingsError

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[^\]\s]+)?)\]|(?P<name>[^\[\]:/\s]+))(?::(?P<port>.*))?", re.DOTALL)


class Login(Protocol):
    """The keys that a server's table in settings.toml has for this."""

    @property
    def user(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def password_file(self) -> str: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...


def shown_user(userinfo: str) -> str:
    """User and password as they may be shown."""
    user, colon, secret = userinfo.partition(":")
    return f"{user}:***" if colon and secret else userinfo


def who(user: str, password: str, table: Login, *, key: str, name: str, shown: str) -> tuple[str, str]:
    """User and password out of the three places where they may stand: the URL that `key` gives, and two keys of the
    table `name`. Raises SettingsError when two of them differ. Cost: reads the password file."""
    given = [
        place
        for place, value in (
            (key, password),
            (f"[{name}] password", table.password),
            (f"[{name}] password_file", table.password_file),
        )
        if value
    ]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)}: both give a password for {shown}; keep one of them")
    if user and table.user and user != table.user:
        raise SettingsError(f"{key} {shown}: its user is not the {table.user} of [{name}] user; keep one of them")
    return user or table.user, password or table.password or _from_file(table.password_file, name)


def _from_file(path: str, name: str) -> str:
    """The first line of a password file."""
    if not path:
        return ""
    where = f"[{name}] password_file {path}"
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline().strip()
    except FileNotFoundError:
        raise SettingsError(f"{where}: no such file") from None
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: its first line is not text in UTF-8") from None
    if not line:
        raise SettingsError(f"{where}: its first line, the password, is empty")
    return line


def check_tls(tls: bool, table: Login, *, name: str, secure: str, shown: str) -> None:
    """Raises SettingsError for files that are missing or of no use. `secure`: how a URL with TLS is written."""
    for key, path in (("ca_file", table.ca_file), ("cert_file", table.cert_file), ("key_file", table.key_file)):
        if path and not tls:
            raise SettingsError(f"[{name}] {key}: {shown} is without TLS; write {secure}, or take it away")
        if path and not Path(path).is_file():
            raise SettingsError(f"[{name}] {key} {path}: no such file")
    if table.key_file and not table.cert_file:
        raise SettingsError(f"[{name}] key_file: it belongs to a certificate; set cert_file too")


def host(text: str, port: int, refuse: Callable[[str], NoReturn]) -> tuple[str, int]:
    """A host and its port, `port` where none is given."""
    found = _HOST.fullmatch(text)
    if not found:
        if text.count(":") > 1:
            refuse(f"an IPv6 address stands in brackets, as in [::1]:{port}")
        refuse("a host is missing")
    given = found["port"]
    if given is not None and not (given.isascii() and given.isdigit() and 0 < int(given) < 65536):
        refuse("behind a host's colon stands its port, 1 to 65535")
    return unquote(found["v6"] or found["name"]), int(given) if given else port
