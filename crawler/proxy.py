"""Proxies: which one a request goes over, and which are left out for a while because they fail. Pure; the caller brings
the time.

A proxy that fails is nobody else's fault: neither the page nor its host is charged. It is left out for a time that
doubles, and then one request tries it again. Each worker judges for itself.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final, Literal
from zlib import crc32

import msgspec

from crawler.error import SettingsError

SCHEMES: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Schemes and usual ports. With socks5 names are looked up here, and judged by the guard; with socks5h, http and https
by the proxy."""
DOUBTS_MAX: Final = 3
"""So many connections in a row that came to nothing over a proxy, without saying why, count as its failure."""

_URL: Final = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:/@\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?/?"
)


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy. Its text shows no credentials."""

    scheme: Literal["http", "https", "socks5", "socks5h"]
    host: str
    """Without brackets."""
    port: int
    user: str = ""
    password: str = ""

    def authorization(self) -> str:
        """The value of a Proxy-Authorization header (RFC 7617)."""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{'***@' if self.user or self.password else ''}{host}:{self.port}"

    __repr__ = __str__


def parse(url: str) -> Proxy:
    """The proxy that `scheme://[user:password@]host[:port]` names; user and password percent-encoded. Raises
    SettingsError, without showing them."""
    from urllib.parse import unquote

    found = _URL.fullmatch(url.strip())
    if found is None or found["scheme"] not in SCHEMES or not 0 < int(found["port"] or 1) < 65_536:
        shown = re.sub(r"//.*@", "//***@", url)
        raise SettingsError(
            f"[session] proxies: {shown!r} is no proxy: http://host:3128, https://user:password@host, "
            "socks5://host:1080, socks5h://host"
        )
    scheme = found["scheme"]
    proxy = Proxy(
        scheme=scheme,  # type: ignore[arg-type]  # one of SCHEMES
        host=found["host"].strip("[]"),
        port=int(found["port"] or SCHEMES[scheme]),
        user=unquote(found["user"] or ""),
        password=unquote(found["password"] or ""),
    )
    if scheme.startswith("socks") and not (f"{proxy.user}{proxy.password}".isascii() and len(proxy.password) < 256):
        raise SettingsError(f"[session] proxies: {proxy}: user and password for SOCKS are ASCII, at most 255 long")
    return proxy


class _Health(msgspec.Struct):
    """How a proxy has done lately."""

    failures: int = 0
    doubts: int = 0
    until: float = 0.0


class Rotation:
    """The proxies of one worker. Times are seconds of any clock that does not go back."""

    def __init__(
        self,
        proxies: Sequence[Proxy],
        *,
        choice: Literal["rotate", "host"] = "rotate",
        backoff_s: float = 10.0,
        backoff_max_s: float = 600.0,
    ) -> None:
        """choice: `rotate` takes one after the other; `host` stays with one for each host as long as it works."""
        self._proxies = tuple(proxies)
        self._choice = choice
        self._backoff_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._health = {proxy: _Health() for proxy in self._proxies}
        self._next = 0

    def choose(self, host: str, now: float) -> Proxy | None:
        """The proxy for a request to `host`; None while all are left out. Of one that failed before, only one request
        at a time finds out whether it works again."""
        for proxy in self._order(host):
            health = self._health[proxy]
            if health.until <= now:
                if health.failures:
                    health.until = now + self._pause_s(health)
                return proxy
        return None

    def wait_s(self, now: float) -> float:
        """Until one can be asked again."""
        return max(0.0, min(health.until for health in self._health.values()) - now)

    def worked(self, proxy: Proxy) -> None:
        """It has brought an answer, or the news that the host has none."""
        health = self._health[proxy]
        health.failures, health.doubts, health.until = 0, 0, 0.0

    def failed(self, proxy: Proxy, now: float) -> float:
        """It did not do its part; for how many seconds it is left out."""
        health = self._health[proxy]
        health.failures, health.doubts = health.failures + 1, 0
        pause_s = self._pause_s(health)
        health.until = now + pause_s
        return pause_s

    def doubted(self, proxy: Proxy, now: float) -> None:
        """A connection over it came to nothing, and it cannot be told whose fault that was."""
        health = self._health[proxy]
        health.doubts += 1
        if health.doubts >= DOUBTS_MAX:
            self.failed(proxy, now)

    def _pause_s(self, health: _Health) -> float:
        return float(min(self._backoff_s * 2.0 ** min(max(health.failures - 1, 0), 60), self._backoff_max_s))

    def _order(self, host: str) -> Sequence[Proxy]:
        """Those to try, best first. By host: rendezvous hashing, so that one that fails moves only its own hosts."""
        if self._choice == "host":
            return sorted(self._proxies, key=lambda proxy: crc32(f"{proxy.host}:{proxy.port} {host}".encode()))
        start = self._next
        self._next = (start + 1) % len(self._proxies)
        return (*self._proxies[start:], *self._proxies[:start])
