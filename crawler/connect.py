"""How connections come to be: only to addresses that the guard lets pass, over a proxy when there is one, with TLS as
the settings say. With `crawler.fetch` the only file that knows aiohttp's client."""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from crawler import plugin
from crawler.error import SettingsError, SiteError
from crawler.gate import Gate
from crawler.guard import Guard
from crawler.proxy import Proxy
from crawler.raw import Take
from crawler.tables import FetchTable

DNS_CACHE_S: Final = 300
IDLE_CONNECTION_S: Final = 15.0

_HOST_IS_AWAY: Final = frozenset({1, 3, 4, 5, 6})
"""SOCKS replies about the host, not the proxy: general failure, unreachable, refused, expired (RFC 1928 §6)."""
_NOT_ALLOWED: Final = 2


class Flight(msgspec.Struct):
    """One fetch under way, as the sweep sees it."""

    task: asyncio.Task[Any]
    total_end: float
    first_byte_end: float
    fresh: bool = False
    """It opened a connection: whatever fails then is no left-over of an earlier request."""
    overdue: str = ""
    take: Take | None = None
    proxy: Proxy | None = None
    gate: Gate | None = None
    """Fetches at a time to one IP address."""
    inside: str = ""
    """The address at which it has a place there."""
    waited_s: float = 0.0
    """How long it waited for one."""


Flights = dict["asyncio.Task[Any]", Flight]


class Resolver(AbstractResolver):
    """Looks names up and gives only the addresses that the guard lets pass: aiohttp connects to one of these, and does
    not look the name up again."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._system = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises SiteError `guard`; OSError when the name has no address."""
        found = await self._system.resolve(host, port, family)
        chosen = set(self._guard.choose(host, port, [one["host"] for one in found]))
        return [one for one in found if one["host"] in chosen]

    async def close(self) -> None:
        await self._system.close()


class NoResolver(AbstractResolver):
    """Leaves names to the proxy."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing was opened."""


class Connector(aiohttp.TCPConnector):
    """The pool. It tells a flight when a connection had to be opened, so that connecting does not count as waiting."""

    def __init__(
        self, flights: Flights, settings: FetchTable, resolver: AbstractResolver | None, proxy: Proxy | None = None
    ) -> None:
        """resolver: None for aiohttp's own, which an HTTP proxy's own name is looked up by."""
        super().__init__(
            limit=settings.connections_max,
            limit_per_host=0,
            ttl_dns_cache=DNS_CACHE_S,
            keepalive_timeout=IDLE_CONNECTION_S,
            resolver=resolver,
            ssl=tls_of(settings),
        )
        self._flights = flights
        self._first_byte_s = settings.first_byte_s
        self._connect_s = settings.connect_s
        self._socks = _socks_of(proxy) if proxy is not None and proxy.scheme.startswith("socks") else None
        self._owned = resolver

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        if self._owned is not None:
            await self._owned.close()

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        flight = self._flights[asyncio.current_task()]  # type: ignore[index]
        flight.fresh = True
        flight.first_byte_end = flight.total_end
        handler = await super()._create_connection(req, traces, timeout)
        flight.first_byte_end = monotonic() + self._first_byte_s
        return handler

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        flight = self._flights[asyncio.current_task()]  # type: ignore[index]
        if flight.gate is not None and flight.proxy is None:
            while not _may_go(flight.gate, flight, address := _address(connection)):
                connection.release()  # nobody sees it while it would wait
                await self._place(flight.gate, flight, address)
                connection = await super().connect(req, traces, timeout)
        if flight.take is not None and flight.proxy is None and connection.transport is not None:
            # A short answer gives its connection back before anybody sees it: so it is asked here.
            peer = connection.transport.get_extra_info("peername")
            flight.take.address = str(peer[0]) if peer else ""
        return connection

    async def _place(self, gate: Gate, flight: Flight, address: str) -> None:
        """Wait for a place, with no time-out running."""
        asked, total_end = monotonic(), flight.total_end
        flight.total_end = flight.first_byte_end = float("inf")
        await gate.wait(address)
        waited_s = monotonic() - asked
        flight.inside, flight.fresh = address, False
        flight.waited_s += waited_s
        flight.total_end = total_end + waited_s
        flight.first_byte_end = min(flight.total_end, asked + waited_s + self._first_byte_s)

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: list[Any], req: aiohttp.ClientRequest, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        if self._socks is None:
            return await super()._wrap_create_connection(*args, addr_infos=addr_infos, req=req, **options)
        try:
            sock = await self._socks(*addr_infos[0][4][:2], self._connect_s)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from None
        return await self._wrap_existing_connection(*args, req=req, sock=sock, **options)


def _address(connection: Connection) -> str:
    peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
    return str(peer[0]) if peer else ""


def _may_go(gate: Gate, flight: Flight, address: str) -> bool:
    """Whether it has a place at the address, now or since before."""
    if flight.inside == address:
        return True
    if flight.inside:
        gate.leave(flight.inside)
        flight.inside = ""
    if not gate.enter(address):
        return False
    flight.inside = address
    return True


def tls_of(settings: FetchTable) -> ssl.SSLContext | bool:
    """What aiohttp takes as `ssl`. Raises SettingsError for a `ca_file` that is none."""
    if not settings.verify or not settings.ca_file:
        return settings.verify
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"[fetch] ca_file: {settings.ca_file}: {why}") from None
    context.set_alpn_protocols(("http/1.1",))
    return context


def _socks_of(proxy: Proxy) -> Any:
    """A function that connects to an address and port over a SOCKS5 proxy, in at most so many seconds: it gives the
    socket, or raises SiteError for the proxy's trouble, TimeoutError, and other OSErrors for the host's."""
    plugin.require(f"[session] proxies: {proxy}", "python_socks")
    from python_socks import ProxyConnectionError, ProxyError, ProxyType
    from python_socks.async_.asyncio import Proxy as Socks

    async def connect(host: str, port: int, seconds: float) -> socket.socket:
        made = Socks(
            proxy_type=ProxyType.SOCKS5,
            host=proxy.host,
            port=proxy.port,
            username=proxy.user or None,
            password=proxy.password if proxy.user else None,
            rdns=True,  # names that are to be looked up here already are
        )
        try:
            sock = await made.connect(dest_host=host, dest_port=port, timeout=seconds)
        except ProxyConnectionError as error:
            raise SiteError("proxy", f"{proxy}: {error}"[:300], blame="host") from None
        except ProxyError as error:
            if error.error_code in _HOST_IS_AWAY:
                raise OSError(error.error_code, f"over {proxy}: {error}") from None
            if error.error_code == _NOT_ALLOWED:
                raise SiteError("proxy_refused", f"{proxy}: {error}"[:300], final=True) from None
            raise SiteError("proxy", f"{proxy}: {error}"[:300], blame="host") from None
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise SiteError("proxy", f"{proxy}: {error}"[:300], blame="host") from None
        if not isinstance(sock, socket.socket):
            raise SiteError("proxy", f"{proxy}: no socket", blame="host")
        return sock

    return connect
