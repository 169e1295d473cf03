"""Who a crawl is to the sites: cookies, headers and credentials for each host, proxies. Made from `[session]`; what
stands in files and in the environment is read here, and shown nowhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from crawler.cookies import Cookies
from crawler.error import BadUrl, SettingsError
from crawler.proxy import Proxy, Rotation, parse
from crawler.tables_session import SessionHost, SessionTable
from crawler.url import canonical, origin

_OURS: Final = {
    "user-agent": "say fetch.user_agent: robots.txt is read for it",
    **dict.fromkeys(
        ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "upgrade", "te"),
        "the crawler writes it",
    ),
}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Headers = tuple[tuple[str, str], ...]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What requests carry beside what they say themselves. Its text shows nothing: it holds secrets."""

    headers: Mapping[str, Headers] = {}
    """Of each origin."""
    cookies: bool = False
    cookies_per_host_max: int = 50
    cookies_max: int = 10_000
    cookie_bytes_max: int = 4_096
    proxies: tuple[Proxy, ...] = ()
    proxy_choice: Literal["rotate", "host"] = "rotate"
    proxy_backoff_s: float = 10.0
    proxy_backoff_max_s: float = 600.0

    def __repr__(self) -> str:
        return f"Session(hosts={len(self.headers)}, cookies={self.cookies}, proxies={len(self.proxies)})"

    def rotation(self) -> Rotation | None:
        """A worker's own; None without proxies."""
        if not self.proxies:
            return None
        return Rotation(
            self.proxies,
            choice=self.proxy_choice,
            backoff_s=self.proxy_backoff_s,
            backoff_max_s=self.proxy_backoff_max_s,
        )

    def jar(self) -> Cookies | None:
        """A worker's own; None when cookies are off."""
        if not self.cookies:
            return None
        return Cookies(
            per_host_max=self.cookies_per_host_max, total_max=self.cookies_max, bytes_max=self.cookie_bytes_max
        )

    def secrets(self) -> frozenset[str]:
        """Names, in lower case, of the headers that are sent to certain origins only."""
        return frozenset(name.lower() for headers in self.headers.values() for name, _ in headers)


def session_of(table: SessionTable, environ: Mapping[str, str]) -> Session:
    """Raises SettingsError for a host, header, file, variable or proxy that is none. Cost: reads the files named."""
    proxies = [*table.proxies, *_proxies_in(table.proxies_file)]
    return Session(
        headers={_origin_of(name): _headers(name, host, environ) for name, host in table.hosts.items()},
        cookies=table.cookies == "memory",
        cookies_per_host_max=table.cookies_per_host_max,
        cookies_max=table.cookies_max,
        cookie_bytes_max=table.cookie_bytes_max,
        proxies=tuple(dict.fromkeys(map(parse, proxies))),
        proxy_choice=table.proxy_choice,
        proxy_backoff_s=table.proxy_backoff_s,
        proxy_backoff_max_s=table.proxy_backoff_max_s,
    )


def merged(own: Headers, added: Headers) -> Headers:
    """A request's own headers, and those added that it does not have itself."""
    if not own:
        return added
    names = {name.lower() for name, _ in own}
    return (*own, *(pair for pair in added if pair[0].lower() not in names))


def _origin_of(name: str) -> str:
    """`example.com` means https: what lets somebody in is not sent in the clear unless the user says http://."""
    text = name if "://" in name else f"https://{name}"
    try:
        url = canonical(f"{text}/")
    except BadUrl:
        url = ""
    if not url or url.count("/") != 3 or "*" in name or "?" in url:
        raise SettingsError(
            f'[session.hosts."{re.sub("//.*@", "//***@", name)}"]: not a host: example.com, example.com:8443, '
            "http://127.0.0.1:8000"
        )
    return origin(url)


def _headers(name: str, host: SessionHost, environ: Mapping[str, str]) -> Headers:
    where = f'[session.hosts."{name}"]'
    token = _secret(where, "token", host.token, host.token_file, host.token_env, environ)
    password = _secret(where, "password", host.password, host.password_file, host.password_env, environ)
    found = dict(host.headers)
    if token and host.user:
        raise SettingsError(f"{where}: token or user and password, not both")
    if password and not host.user:
        raise SettingsError(f"{where}: a password without user")
    if token:
        found["Authorization"] = f"Bearer {token}"
    elif host.user:
        if ":" in host.user:
            raise SettingsError(f"{where} user: no colon may stand in it (RFC 7617 §2)")
        found["Authorization"] = f"Basic {b64encode(f'{host.user}:{password}'.encode()).decode()}"
    for key, value in found.items():
        if not _TOKEN.fullmatch(key):
            raise SettingsError(f"{where} headers: {key!r} is no name of a header")
        if key.lower() in _OURS:
            raise SettingsError(f"{where} headers: {key} cannot be set here: {_OURS[key.lower()]}")
        if _CONTROL.search(value):
            raise SettingsError(f"{where}: the value of {key} has a line break or control character in it")
    return tuple(found.items())


def _secret(where: str, what: str, text: str, path: str, variable: str, environ: Mapping[str, str]) -> str:
    """From where it stands: at most one of the three places."""
    if sum(map(bool, (text, path, variable))) > 1:
        raise SettingsError(f"{where}: one of {what}, {what}_file and {what}_env, not several")
    if variable:
        if variable not in environ:
            raise SettingsError(f"{where} {what}_env: there is no {variable} in the environment")
        return environ[variable]
    return _lines(f"{where} {what}_file", path)[0] if path else text


def _proxies_in(path: str) -> list[str]:
    if not path:
        return []
    return [line for line in _lines("[session] proxies_file", path) if line and not line.startswith("#")]


def _lines(where: str, path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file] or [""]
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where}: {path} cannot be read: {getattr(error, 'strerror', error)}") from None
