"""Request -> Response or SiteError. The only file that knows aiohttp's client; no exception of it gets out.

One pool of connections for a worker, no cookies, bodies counted while they arrive. Redirects are not followed: their
target is a found request of its own. Time-outs need no timer per fetch: a sweep over all flights cancels those overdue.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from crawler.body import ACCEPT_ENCODING, Body
from crawler.error import SiteError
from crawler.httpstatus import redirect_target, redirected, site_error
from crawler.model import Request
from crawler.response import Response, charset_of, essence
from crawler.tables import FetchTable
from crawler.version import VERSION

ACCEPT: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DRAIN_BYTES: Final = 1 << 16
"""The body of an answer that nobody wants (an error, a redirect) is read up to so many bytes to keep the connection."""
DNS_CACHE_S: Final = 300
IDLE_CONNECTION_S: Final = 15.0
STALE_MAX: Final = 3
"""Pooled connections that may turn out to be closed by the server before one fetch is counted as failed."""
_READ_BUFFER_BYTES: Final = 1 << 17
_AUTO_HEADERS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_STREAM_BYTES: Final = 1 << 20  # Bodies announced as smaller than this are read in one await.


__all__ = ["Fetcher", "Response"]


class _Flight(msgspec.Struct):
    """One fetch under way, as the sweep sees it."""

    task: asyncio.Task[Any]
    total_end: float
    first_byte_end: float
    fresh: bool = False
    """It opened a connection: whatever fails then is no left-over of an earlier request."""
    overdue: str = ""


class _Connector(aiohttp.TCPConnector):
    """The pool. It tells a flight when a connection had to be opened, so that connecting does not count as waiting."""

    def __init__(self, flights: dict[asyncio.Task[Any], _Flight], first_byte_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._flights = flights
        self._first_byte_s = first_byte_s

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        flight = self._flights[asyncio.current_task()]  # type: ignore[index]
        flight.fresh = True
        flight.first_byte_end = flight.total_end
        handler = await super()._create_connection(req, traces, timeout)
        flight.first_byte_end = monotonic() + self._first_byte_s
        return handler


class Fetcher:
    """`async with Fetcher(settings) as fetcher`: one for each worker, used from one event loop."""

    def __init__(self, settings: FetchTable) -> None:
        self._settings = settings
        self._flights: dict[asyncio.Task[Any], _Flight] = {}
        self._session: aiohttp.ClientSession | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_s = min(0.25, settings.first_byte_s / 4, settings.total_s / 4)
        self._types = frozenset(settings.content_types)
        contact = f" (+{settings.contact})" if settings.contact else ""
        self.user_agent = settings.user_agent or f"crawler/{VERSION}{contact}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.user_agent, "Accept": ACCEPT, "Accept-Encoding": ACCEPT_ENCODING},
            skip_auto_headers=_AUTO_HEADERS,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_s, sock_connect=None, sock_read=None
            ),
        )
        # A repeat by the library would be a second request to the host within its delay; _repeat decides instead.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self, request: Request, *, follow: int = 0, any_type: bool = False, keep_bytes: int | None = None
    ) -> Response:
        """Raises SiteError; its `reason` says what: dns, connect, tls, timeout_connect, timeout_first_byte,
        timeout_total, reset, protocol, body_max, decoded_max, bad_encoding, bad_redirect, redirects_max, bad_url,
        http_<status>. The time-outs and caps hold for each hop.

        follow: redirects to follow at most. any_type: whatever its content type is. keep_bytes: read the first so many
        bytes of the decoded body and no more, instead of refusing a body that is too large. CPU: about 150 µs."""
        hops: tuple[str, ...] = ()
        while True:
            response = await self._timed(request, any_type, keep_bytes)
            if response.redirect is None or follow == 0:
                return msgspec.structs.replace(response, hops=hops) if hops else response
            if len(hops) == follow:
                raise SiteError(
                    "redirects_max", f"more than {follow} redirects, the last to {response.redirect}", final=True
                )
            hops = (*hops, request.url)
            request = redirected(request, response.status, response.redirect)

    def _connector(self) -> aiohttp.TCPConnector:
        """Where connections come from; a guard of addresses belongs here, as `socket_factory`: it sees each address,
        resolved or literal, right before it is connected to."""
        return _Connector(
            self._flights,
            self._settings.first_byte_s,
            limit=self._settings.connections_max,
            limit_per_host=0,
            ttl_dns_cache=DNS_CACHE_S,
            keepalive_timeout=IDLE_CONNECTION_S,
        )

    async def _timed(self, request: Request, any_type: bool, keep_bytes: int | None) -> Response:
        task = asyncio.current_task()
        assert task is not None
        start = monotonic()
        settings = self._settings
        flight = _Flight(task, start + settings.total_s, start + settings.first_byte_s)
        self._flights[task] = flight
        if self._sweeper is None:
            self._sweeper = task.get_loop().call_later(self._sweep_s, self._sweep)
        try:
            return await self._repeat(request, flight, start, any_type, keep_bytes)
        except asyncio.CancelledError:
            # Somebody else may have cancelled too, and then must be heard.
            if flight.overdue and task.uncancel() == 0:
                raise SiteError(flight.overdue, f"after {monotonic() - start:.1f} s") from None
            raise
        finally:
            del self._flights[task]

    def _sweep(self) -> None:
        """Cancel the flights that are overdue; runs while there are flights."""
        now = monotonic()
        for flight in self._flights.values():
            if flight.overdue:
                continue
            if now >= flight.total_end:
                flight.overdue = "timeout_total"
            elif now >= flight.first_byte_end:
                flight.overdue = "timeout_first_byte"
            else:
                continue
            flight.task.cancel()
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep) if self._flights else None

    async def _repeat(
        self, request: Request, flight: _Flight, start: float, any_type: bool, keep_bytes: int | None
    ) -> Response:
        """A kept connection may have been closed by the server just before it was used again: no fault of anybody,
        and the request was not seen (RFC 9112 §9.3.1), so it goes out again, at last over a new connection."""
        for left in range(STALE_MAX, -1, -1):
            try:
                return await self._answer(request, flight, start, any_type, keep_bytes)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                stale = not flight.fresh and request.method in ("GET", "HEAD")
                if not (stale and left) or isinstance(error, aiohttp.ClientConnectorError):
                    raise _mapped(error) from None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _mapped(error) from None
        raise AssertionError("the last round returns or raises")

    async def _answer(
        self, request: Request, flight: _Flight, start: float, any_type: bool, keep_bytes: int | None
    ) -> Response:
        assert self._session is not None
        answer = await self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers or None,
            data=request.body or None,
            allow_redirects=False,
        )
        flight.first_byte_end = flight.total_end
        try:
            status, headers = answer.status, answer.headers
            skipped, redirect = "", None
            body: Body | None = None
            if not 200 <= status < 300:
                redirect = redirect_target(request.url, status, headers.get("Location"))
                await self._drain(answer)
                if redirect is None:
                    raise site_error(status, answer.reason or "", headers.get("Retry-After"))
            elif not any_type and not self._wanted(headers.get("Content-Type", "")):
                skipped = "content_type"
                await self._drain(answer)
            else:
                body = await self._read(answer, keep_bytes)
        finally:
            answer.release()
        return Response(
            url=request.url,
            status=status,
            headers=headers,
            body=b"" if body is None else (body.finish() if keep_bytes is None else body.so_far()[:keep_bytes]),
            charset=charset_of(headers.get("Content-Type", "")),
            seconds=monotonic() - start,
            wire_bytes=0 if body is None else body.wire_bytes,
            fetched_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            redirect=redirect,
            skipped=skipped,
        )

    def _wanted(self, content_type: str) -> bool:
        return not self._types or not content_type or essence(content_type) in self._types

    async def _read(self, answer: aiohttp.ClientResponse, keep_bytes: int | None) -> Body:
        settings = self._settings
        length = answer.content_length
        if keep_bytes is None and length is not None and length > settings.body_bytes_max:
            raise SiteError("body_max", f"{length} bytes announced, {settings.body_bytes_max} allowed", final=True)
        decoded_max = settings.decoded_bytes_max if keep_bytes is None else min(keep_bytes, settings.decoded_bytes_max)
        body = Body(answer.headers.get("Content-Encoding", ""), settings.body_bytes_max, decoded_max)
        if length is not None and length <= _STREAM_BYTES and keep_bytes is None:
            if data := await answer.content.read():
                body.feed(data)
            return body
        try:
            while chunk := await answer.content.readany():
                body.feed(chunk)
        except SiteError as error:
            if keep_bytes is None or error.reason != "decoded_max":
                raise
        return body

    async def _drain(self, answer: aiohttp.ClientResponse) -> None:
        length = answer.content_length
        if length is not None and length <= DRAIN_BYTES:
            await answer.content.read()


def _mapped(error: Exception) -> SiteError:
    """aiohttp's exceptions by whose fault they are."""
    detail = f"{type(error).__name__}: {error}"[:300]
    match error:
        case SiteError():
            return error
        case aiohttp.ClientConnectorDNSError():
            return SiteError("dns", detail, blame="host")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return SiteError("tls", detail, blame="host")
        case aiohttp.ClientConnectorError():
            return SiteError("connect", detail, blame="host")
        case TimeoutError():
            return SiteError("timeout_connect", detail, blame="host")
        case aiohttp.ClientResponseError():
            return SiteError("protocol", detail)
        case aiohttp.ClientPayloadError():
            return SiteError("reset" if "not completed" in detail else "protocol", detail)
        case aiohttp.InvalidURL() | ValueError():
            return SiteError("bad_url", detail, final=True)
        case _:
            return SiteError("reset", detail)
