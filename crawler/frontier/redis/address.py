"""Which Redis a URL names, and who we are there. Reads the password file; else pure.

    redis://[USER[:PASSWORD]@]HOST[:6379][/DB]            one server; rediss:// with TLS
    redis+unix:///path/redis.sock[?db=0]                  one server of this machine; also unix://
    redis+sentinel://[USER[:PASSWORD]@]HOST[:26379],…/PRIMARY[/DB]   the primary that Sentinel names; rediss+sentinel://
    redis+cluster://[USER[:PASSWORD]@]HOST[:6379],…       Redis Cluster, found by any of its nodes; rediss+cluster://

A password never stands in a message, a repr or a traceback: `Address.shown` is the URL with *** for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote

import msgspec

from crawler.authority import check_tls, host, shown_user, who
from crawler.error import SettingsError
from crawler.tables import RedisTable

Kind = Literal["single", "unix", "sentinel", "cluster"]

SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+unix": ("unix", False),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""What each scheme means, and whether with TLS."""

PORT = 6379
SENTINEL_PORT = 26379


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is and who we are there. Made by `parse`."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """The server; the Sentinels; some nodes of the Cluster. Empty with a socket."""
    path: str = ""
    """Of the socket."""
    primary: str = ""
    """The name under which Sentinel knows it."""
    db: int = 0
    tls: bool = False
    user: str = ""
    password: str = ""
    shown: str
    """The URL with *** for its password."""

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]


def split(url: str) -> tuple[str, str]:
    """The URL without its fragment, and the fragment, which names the crawl; empty when there is none."""
    found = url.find("#", url.rfind("@") + 1)
    return (url, "") if found < 0 else (url[:found], unquote(url[found + 1 :]))


def parse(url: str, table: RedisTable) -> Address:
    """The address that `frontier.url` and the table [redis] give together.

    Raises SettingsError naming the key, what is wrong and what is meant. Cost: reads the password file, if one is
    named, and looks whether the files for TLS are there.
    """
    url, _ = split(url)
    scheme, _, rest = url.partition(":")
    if scheme.lower() not in SCHEMES:
        raise SettingsError(f"frontier.url: {scheme}: is not known; Redis is one of {', '.join(SCHEMES)}, with ://")
    if not rest.startswith("//"):
        raise SettingsError(f"frontier.url: two slashes are missing behind {scheme}:")
    kind, tls = SCHEMES[scheme.lower()]
    rest, question, query = rest.partition("?") if "@" not in rest.partition("?")[2] else (rest, "", "")
    userinfo, at, place = _userinfo(rest, kind)
    shown = f"{scheme}://{shown_user(userinfo)}{at}{place}{question}{query}"
    named, _, secret = userinfo.partition(":")
    user, password = who(unquote(named), unquote(secret), table, key="frontier.url", name="redis", shown=shown)
    check_tls(tls, table, name="redis", secure="rediss:// with two s", shown=shown)
    if table.replicas and table.replicas_wait_s >= table.timeout_s:
        raise SettingsError(
            f"[redis] replicas_wait_s = {table.replicas_wait_s:g}: must be less than timeout_s = {table.timeout_s:g}"
        )
    fields = _unix(place, query, shown) if kind == "unix" else _tcp(kind, place, question, shown)
    return Address(kind=kind, tls=tls, user=user, password=password, shown=shown, **fields)


def _userinfo(rest: str, kind: Kind) -> tuple[str, str, str]:
    """User and password, @, and all behind; a password may hold any characters but @, encoded or not."""
    rest = rest.removeprefix("//")
    if kind == "unix":
        authority, slash, path = rest.partition("/")
        userinfo, at, host = authority.rpartition("@")
        return userinfo, at, host + slash + path
    return rest.rpartition("@")


def _unix(path: str, query: str, shown: str) -> dict[str, Any]:
    if not path.startswith("/"):
        _refuse(shown, "expected the whole path of a socket, as in redis+unix:///run/redis/redis.sock")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if set(given) - {"db"}:
        _refuse(shown, f"{next(iter(set(given) - {'db'}))} is not known behind the ?; only ?db=0 is")
    return {"path": unquote(path), "db": _db(given.get("db", "0"), shown)}


def _tcp(kind: Kind, place: str, question: str, shown: str) -> dict[str, Any]:
    if question:
        _refuse(shown, "nothing is known behind the ?; a database is given as /0, all else in [redis]")
    authority, *path = place.split("/")
    parts = [unquote(part) for part in path if part]
    port = SENTINEL_PORT if kind == "sentinel" else PORT
    hosts = tuple(host(one, port, partial(_refuse, shown)) for one in authority.split(","))
    if kind == "single" and len(hosts) > 1:
        _refuse(shown, "several hosts; write redis+sentinel:// or redis+cluster:// for those")
    if kind == "sentinel":
        if not parts:
            _refuse(shown, "expected the name of the primary behind the hosts, as in /crawl")
        primary, *parts = parts
    else:
        primary = ""
    if kind == "cluster" and parts:
        _refuse(shown, "a Cluster has only database 0; take away what follows the hosts")
    if len(parts) > 1:
        _refuse(shown, f"{parts[1]!r} behind the database; the crawl's name stands behind a #")
    return {"hosts": hosts, "primary": primary, "db": _db(parts[0] if parts else "0", shown)}


def _db(text: str, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        _refuse(shown, f"database {text[:40]!r} is not a number; expected one, as in /0")
    return int(text)


def _refuse(shown: str, why: str) -> NoReturn:
    raise SettingsError(f"frontier.url {shown}: {why}")
