"""Request -> Response or SiteError. No exception of aiohttp's client gets out.

One pool of connections for a worker (and proxy), bodies counted while they arrive. Redirects are not followed: their
target is a found request of its own. Time-outs need no timer per fetch: a sweep over all flights cancels those overdue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic, time
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from yarl import URL

from crawler.body import ACCEPT_ENCODING, Body
from crawler.connect import Flight, Flights
from crawler.error import SiteError
from crawler.fetch_error import from_proxy, mapped
from crawler.gate import Gate
from crawler.guard import Guard
from crawler.httpstatus import redirect_target, redirected, site_error
from crawler.model import Request
from crawler.pool import Pools, note, over
from crawler.proxy import Proxy, Rotation
from crawler.raw import Take
from crawler.response import Response, Timing, charset_of, essence
from crawler.revisit import NOT_MODIFIED, is_conditional
from crawler.session import Headers, Session, merged
from crawler.sniff import Mode, seen_as, worth_reading
from crawler.tables import FetchTable
from crawler.url import host as host_of
from crawler.url import origin
from crawler.version import VERSION

log = logging.getLogger("crawler.fetch")

ACCEPT: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DRAIN_BYTES: Final = 1 << 16
"""The body of an answer that nobody wants (an error, a redirect) is read up to so many bytes to keep the connection."""
STALE_MAX: Final = 3
"""Pooled connections that may turn out to be closed by the server before one fetch is counted as failed."""
PROXY_WAIT_S: Final = 0.1
PROXY_LOOK_S: Final = 5.0
"""While no proxy works, somebody looks at least and at most so often whether one does."""
_STREAM_BYTES: Final = 1 << 20  # Bodies announced as smaller than this are read in one await.


__all__ = ["Fetcher", "Response"]


class Fetcher:
    """`async with Fetcher(settings) as fetcher`: one for each worker, used from one event loop."""

    def __init__(
        self,
        settings: FetchTable,
        *,
        guard: Guard | None = None,
        session: Session | None = None,
        patient: bool = False,
        timings: list[Timing] | None = None,
        sniff: Mode = "off",
        per_address: int = 0,
    ) -> None:
        """guard: None for the default one, which lets nobody into private networks. patient: while no proxy works,
        wait for one instead of raising. timings: gets one for each request, of which there is one at a time.
        per_address: fetches at a time to one IP address; 0: no cap; those over proxies do not count."""
        self._settings = settings
        self._gate = Gate(per_address) if per_address else None
        self._guard = guard or Guard()
        self._identity = session or Session()
        self._patient = patient
        self._flights: Flights = {}
        self._rotation = self._identity.rotation()
        self._cookies = self._identity.jar()
        self._secrets = self._identity.secrets()
        self._dresses = bool(self._identity.headers) or self._identity.cookies
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_s = min(0.25, settings.first_byte_s / 4, settings.total_s / 4)
        self._types = frozenset(settings.content_types)
        self._sniff = sniff
        contact = f" (+{settings.contact})" if settings.contact else ""
        self.user_agent = settings.user_agent or f"crawler/{VERSION}{contact}"
        self._pools = Pools(
            settings,
            {"User-Agent": self.user_agent, "Accept": ACCEPT, "Accept-Encoding": ACCEPT_ENCODING},
            self._guard,
            self._flights,
            timings=timings,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._pools.close()

    async def fetch(
        self,
        request: Request,
        *,
        follow: int = 0,
        any_type: bool = False,
        keep_bytes: int | None = None,
        takes: list[Take] | None = None,
    ) -> Response:
        """Raises SiteError; its `reason` says what: dns, connect, tls, timeout_connect, timeout_first_byte,
        timeout_total, reset, protocol, body_max, decoded_max, bad_encoding, bad_redirect, redirects_max, bad_url,
        guard, proxy, proxy_refused, http_<status>. The guard, the time-outs and caps hold for each hop.

        follow: redirects to follow at most. any_type: whatever its content type is. keep_bytes: read the first so many
        bytes of the decoded body and no more, instead of refusing a body that is too large. takes: gets each hop as it
        went over the wire, also of what then raises. CPU: about 150 µs."""
        hops: tuple[str, ...] = ()
        status = 0
        while True:
            take = None
            if takes is not None:
                takes.append(take := Take(request=request))
            try:
                self._guard.check(request.url)
                if self._rotation is None:
                    response = await self._timed(request, any_type, keep_bytes, take)
                else:
                    response = await self._proxied(self._rotation, request, any_type, keep_bytes, take)
            except SiteError as error:
                if error.reason != "guard" or not hops:
                    raise
                detail = f"redirected by {hops[-1]}: {error.detail}"
                raise SiteError("guard", detail, final=True, status=status) from None
            if response.redirect is None or follow == 0:
                return msgspec.structs.replace(response, hops=hops) if hops else response
            if len(hops) == follow:
                raise SiteError(
                    "redirects_max", f"more than {follow} redirects, the last to {response.redirect}", final=True
                )
            hops = (*hops, request.url)
            status = response.status
            request = redirected(request, status, response.redirect)

    async def _proxied(
        self, rotation: Rotation, request: Request, any_type: bool, keep_bytes: int | None, take: Take | None
    ) -> Response:
        """Over the next proxy; over another when that one does not do its part, which costs the page nothing."""
        name = host_of(request.url)
        while True:
            proxy = rotation.choose(name, monotonic())
            if proxy is None and self._patient:
                await asyncio.sleep(min(max(rotation.wait_s(monotonic()), PROXY_WAIT_S), PROXY_LOOK_S))
                continue
            if proxy is None:
                raise SiteError("proxy", "none of the proxies works", blame="host")
            try:
                if self._guard.resolve_proxied and proxy.scheme != "socks5":
                    await self._pools.judge(request.url)
                response = await self._timed(request, any_type, keep_bytes, take, proxy)
            except SiteError as error:
                if error.reason == "proxy":
                    pause_s = rotation.failed(proxy, monotonic())
                    log.warning("%s; left out for %.0f s", error.detail, pause_s)
                    continue
                if error.reason in ("timeout_connect", "connect", "reset"):
                    rotation.doubted(proxy, monotonic())
                else:
                    rotation.worked(proxy)
                raise
            rotation.worked(proxy)
            return response

    async def _timed(
        self,
        request: Request,
        any_type: bool,
        keep_bytes: int | None,
        take: Take | None,
        proxy: Proxy | None = None,
    ) -> Response:
        task = asyncio.current_task()
        assert task is not None
        start = monotonic()
        settings = self._settings
        flight = Flight(task, start + settings.total_s, start + settings.first_byte_s, take=take, proxy=proxy)
        flight.gate = self._gate
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
            if flight.inside and self._gate is not None:
                self._gate.leave(flight.inside)

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
        self, request: Request, flight: Flight, start: float, any_type: bool, keep_bytes: int | None
    ) -> Response:
        """A kept connection may have been closed by the server just before it was used again: no fault of anybody,
        and the request was not seen (RFC 9112 §9.3.1), so it goes out again, at last over a new connection."""
        for left in range(STALE_MAX, -1, -1):
            try:
                return await self._answer(request, flight, start, any_type, keep_bytes)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                stale = not flight.fresh and request.method in ("GET", "HEAD")
                if not (stale and left) or isinstance(error, aiohttp.ClientConnectorError):
                    raise mapped(error, flight.proxy) from None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise mapped(error, flight.proxy) from None
        raise AssertionError("the last round returns or raises")

    async def _answer(
        self, request: Request, flight: Flight, start: float, any_type: bool, keep_bytes: int | None
    ) -> Response:
        proxy = flight.proxy
        headers_sent = self._dressed(request) if self._dresses else request.headers
        options: Mapping[str, Any] = {}
        if proxy is not None and proxy.scheme.startswith("http"):
            headers_sent, options = over(proxy, request.url, headers_sent)
        pool = self._pools.of(proxy)
        answer = await pool.request(
            request.method,
            URL(request.url, encoded=True),
            headers=headers_sent or None,
            data=request.body or None,
            allow_redirects=False,
            **options,
        )
        flight.first_byte_end = flight.total_end
        take = flight.take
        if take is not None:
            note(take, answer, self._secrets)
        try:
            status, headers = answer.status, answer.headers
            if proxy is not None and status == 407:
                raise from_proxy(status, f"{proxy} answers 407 {answer.reason}"[:300])
            if self._cookies is not None and (lines := headers.getall("Set-Cookie", None)):
                self._cookies.store(request.url, lines, time())
            skipped, redirect = "", None
            body: Body | None = None
            if not 200 <= status < 300:
                redirect = redirect_target(request.url, status, headers.get("Location"))
                await self._drain(answer, take, DRAIN_BYTES)
                if status == 304 and is_conditional(request.headers):
                    skipped = NOT_MODIFIED
                elif redirect is None:
                    raise site_error(status, answer.reason or "", headers.get("Retry-After"), headers.get("Date"))
            elif request.method == "HEAD":  # whatever is announced, there is no body (RFC 9110 §9.3.2)
                await self._drain(answer, take, 0)
            elif not any_type and not self._wanted(headers):
                skipped = "content_type"
                await self._drain(answer, take, 0)
            else:
                body = await self._read(answer, keep_bytes, take)
        finally:
            if take is not None:
                take.end(monotonic() - start, whole=answer.content.at_eof())
            answer.release()
        response = Response(
            url=request.url,
            status=status,
            headers=headers,
            body=b"" if body is None else (body.finish() if keep_bytes is None else body.so_far()[:keep_bytes]),
            charset=charset_of(headers.get("Content-Type", "")),
            seconds=monotonic() - start - flight.waited_s,
            wire_bytes=0 if body is None else body.wire_bytes,
            fetched_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            redirect=redirect,
            skipped=skipped,
        )
        return seen_as(response, self._sniff, () if any_type else self._types) if body is not None else response

    def _dressed(self, request: Request) -> Headers:
        """The request's own headers, and those of the session for its origin."""
        added = self._identity.headers.get(origin(request.url), ())
        if self._cookies is not None and (line := self._cookies.header(request.url, time())):
            added = (*added, ("Cookie", line))
        return merged(request.headers, added)

    def _wanted(self, headers: Mapping[str, str]) -> bool:
        said = headers.get("Content-Type", "")
        if not self._types or not said or essence(said) in self._types:
            return True
        return worth_reading(said, headers.get("X-Content-Type-Options"), self._sniff)

    async def _read(self, answer: aiohttp.ClientResponse, keep_bytes: int | None, take: Take | None) -> Body:
        settings = self._settings
        length = answer.content_length
        if keep_bytes is None and length is not None and length > settings.body_bytes_max:
            raise SiteError("body_max", f"{length} bytes announced, {settings.body_bytes_max} allowed", final=True)
        decoded_max = settings.decoded_bytes_max if keep_bytes is None else min(keep_bytes, settings.decoded_bytes_max)
        body = Body(answer.headers.get("Content-Encoding", ""), settings.body_bytes_max, decoded_max)
        # In one await what was there before a failure is lost; a take has it.
        if length is not None and length <= _STREAM_BYTES and keep_bytes is None and take is None:
            if data := await answer.content.read():
                body.feed(data)
            return body
        try:
            while chunk := await answer.content.readany():
                if take is not None:
                    take.feed(chunk)
                body.feed(chunk)
        except SiteError as error:
            if keep_bytes is None or error.reason != "decoded_max":
                raise
        return body

    async def _drain(self, answer: aiohttp.ClientResponse, take: Take | None, take_bytes: int) -> None:
        """`take_bytes`: so much of a body that is not read for the connection's sake is read for the take."""
        length = answer.content_length
        if length is not None and length <= DRAIN_BYTES:
            data = await answer.content.read()
            if take is not None:
                take.feed(data)
        elif take is not None and take_bytes:
            with contextlib.suppress(aiohttp.ClientError):  # what the status says stands already
                while take.body_bytes < take_bytes and (chunk := await answer.content.readany()):
                    take.feed(chunk)
