"""Pools of connections: one, or one for each proxy. With `crawler.connect`, `crawler.fetch` and `crawler.fetch_error`
the only file that knows aiohttp's client."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

from crawler.address import is_address
from crawler.connect import Connector, Flights, NoResolver, Resolver
from crawler.error import SiteError
from crawler.guard import Guard
from crawler.proxy import Proxy
from crawler.raw import Take
from crawler.response import Timing
from crawler.session import Headers
from crawler.tables import FetchTable

_READ_BUFFER_BYTES: Final = 1 << 17
_AUTO_HEADERS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Pools:
    """The pool without a proxy, and that of each proxy that was used. No cookies: they are the session's."""

    def __init__(
        self,
        settings: FetchTable,
        headers: Mapping[str, str],
        guard: Guard,
        flights: Flights,
        *,
        timings: list[Timing] | None = None,
    ) -> None:
        """headers: of every request. Opens nothing yet."""
        self._settings = settings
        self._headers = headers
        self._guard = guard
        self._flights = flights
        self._timings = timings
        self._pools: dict[Proxy | None, aiohttp.ClientSession] = {}
        self._looker: Resolver | None = None

    def of(self, proxy: Proxy | None) -> aiohttp.ClientSession:
        """Within the event loop. Raises SettingsError when a library for this proxy is missing, for `fetch.ca_file`."""
        pool = self._pools.get(proxy)
        if pool is None:
            connector = Connector(self._flights, self._settings, self._resolver(proxy), proxy)
            pool = self._pools[proxy] = self._opened(connector)
        return pool

    async def judge(self, url: str) -> None:
        """Look up here what a proxy will look up. Raises SiteError: `guard` where nobody may go, `dns`."""
        parts = URL(url, encoded=True)
        name = parts.raw_host or ""
        if is_address(name):
            return
        if self._looker is None:
            self._looker = Resolver(self._guard)
        try:
            await self._looker.resolve(name, parts.port or 80)
        except OSError as error:
            raise SiteError("dns", f"{name}: {error}"[:300], blame="host") from None

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        if self._looker is not None:
            await self._looker.close()

    def _resolver(self, proxy: Proxy | None) -> Resolver | NoResolver | None:
        """Names of sites are looked up here without a proxy and for socks5, whose addresses the guard sees; what an
        HTTP proxy's connector looks up is the proxy, which the user named."""
        if proxy is None or proxy.scheme == "socks5":
            return Resolver(self._guard)
        return NoResolver() if proxy.scheme == "socks5h" else None

    def _opened(self, connector: Connector) -> aiohttp.ClientSession:
        settings = self._settings
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            skip_auto_headers=_AUTO_HEADERS,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=settings.header_bytes_max,
            max_field_size=settings.header_bytes_max,
            max_headers=settings.headers_max,
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_s, sock_connect=None, sock_read=None),
            trace_configs=None if self._timings is None else [stopwatch(self._timings)],
        )
        # A repeat by the library would be a second request to the host within its delay; _repeat decides instead.
        session._retry_connection = False
        return session


def over(proxy: Proxy, url: str, headers: Headers) -> tuple[Headers, Mapping[str, Any]]:
    """What an HTTP proxy needs: its credentials go with CONNECT, and for plain HTTP with the request itself."""
    place = URL.build(scheme=proxy.scheme, host=proxy.host, port=proxy.port)
    if not proxy.user:
        return headers, {"proxy": place}
    credentials = {"Proxy-Authorization": proxy.authorization()}
    if url.startswith("https:"):
        return headers, {"proxy": place, "proxy_headers": credentials}
    return (*headers, *credentials.items()), {"proxy": place}


def stopwatch(into: list[Timing]) -> aiohttp.TraceConfig:
    """Appends how long each part of a request took. For one request at a time."""
    trace = aiohttp.TraceConfig()
    marks: dict[str, float] = {}

    def mark(name: str) -> Any:
        async def note(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
            marks[name] = monotonic()
            if name in ("head", "failed"):
                into.append(_timing(marks))
                marks.clear()

        return note

    trace.on_request_start.append(mark("start"))
    trace.on_dns_resolvehost_start.append(mark("dns"))
    trace.on_dns_resolvehost_end.append(mark("dns_end"))
    trace.on_connection_create_start.append(mark("connect"))
    trace.on_connection_create_end.append(mark("connect_end"))
    trace.on_request_end.append(mark("head"))
    trace.on_request_exception.append(mark("failed"))
    return trace


def _timing(marks: dict[str, float]) -> Timing:
    def between(first: str, last: str) -> float:
        return max(0.0, marks[last] - marks[first]) if first in marks and last in marks else 0.0

    dns_s = between("dns", "dns_end")
    sent = "connect_end" if "connect_end" in marks else "start"
    return Timing(
        dns_s=dns_s, connect_s=max(0.0, between("connect", "connect_end") - dns_s), first_byte_s=between(sent, "head")
    )


def note(take: Take, answer: aiohttp.ClientResponse, secrets: frozenset[str]) -> None:
    """The heads of request and response, without the values of `secrets`. aiohttp gives header bytes that are no UTF-8
    as surrogates."""
    sent, version = answer.request_info, answer.version
    take.begin(
        target=sent.url.raw_path_qs,
        request_headers=tuple(
            (str(name), "" if name.lower() in secrets else value) for name, value in sent.headers.items()
        ),
        version="1.1" if version is None else f"{version.major}.{version.minor}",
        status=answer.status,
        phrase=(answer.reason or "").encode("utf-8", "surrogateescape").decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers),
    )
