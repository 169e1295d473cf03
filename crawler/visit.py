"""One visit: a lease becomes an outcome, with what was found on the way. A worker's decisions, page by page."""

from __future__ import annotations

import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Literal, Self

import msgspec

from crawler.caller import Caller
from crawler.commit import Ended
from crawler.error import SiteError, SpiderError
from crawler.fetch import Fetcher, Response
from crawler.frontier import Frontier
from crawler.harvest import Harvest, Limits, Scope, harvest
from crawler.httpstatus import redirected
from crawler.model import Bury, Done, Lease, LogEntry, Outcome, Request, Retry, Robots
from crawler.page import Page
from crawler.retry import Policy, judge
from crawler.robots import ROBOTS_BYTES_MAX, robots_from, rules
from crawler.robots import Rules as RobotsRules
from crawler.settings import Settings
from crawler.spider import Spider
from crawler.url import origin

ROBOTS_REDIRECTS_MAX = 5
"""RFC 9309 §2.3.1.2: at least five are followed."""
ORIGINS_MAX = 10_000
"""Origins whose rules a worker keeps parsed."""

KINDS: dict[type[Outcome], Literal["done", "retry", "bury"]] = {Done: "done", Retry: "retry", Bury: "bury"}

FetchEnded = Callable[[str], Awaitable[None]]
"""Told the lease's token at the moment when its fetch ends."""


class Visitor:
    """Visits for one worker: one fetcher, one spider, the parsed rules of the origins it meets."""

    def __init__(
        self,
        frontier: Frontier,
        spider: Spider,
        settings: Settings,
        call: Caller,
        *,
        worker: str,
        scope: Scope,
        limits: Limits,
        watchdog: AbstractContextManager[None],
    ) -> None:
        """`watchdog` is entered around the parsing of each page."""
        self.spider_name = spider.name
        self._frontier = frontier
        self._spider = spider
        self._settings = settings
        self._call = call
        self._worker = worker
        self._scope = scope
        self._limits = limits
        self._watchdog = watchdog
        self._policy = Policy.of(settings)
        self._robots: dict[str, tuple[int, RobotsRules]] = {}
        self._random = random.Random()

    async def __aenter__(self) -> Self:
        table = self._settings.fetch
        # Who waits for a connection of the pool must not look like a host that cannot be connected to.
        pool = max(table.connections_max, self._settings.worker.concurrency)
        self._fetcher = await Fetcher(msgspec.structs.replace(table, connections_max=pool)).__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._fetcher.__aexit__(None, None, None)

    async def visit(self, lease: Lease, fetch_ended: FetchEnded) -> Ended:
        """Fetch and parse one lease. A bug of ours ends like one of the spider's: the page is buried with the
        traceback, the worker lives."""
        try:
            if lease.robots:
                return await self._visit_robots(lease, fetch_ended)
            return await self._visit_page(lease, fetch_ended)
        except Exception:
            return self._failed(lease, SpiderError("bug", traceback.format_exc()))

    async def _visit_page(self, lease: Lease, fetch_ended: FetchEnded) -> Ended:
        try:
            if lease.robots_ms and not await self._allowed(lease):
                return self._ended(lease, Done("robots", fetched=False))
        except SiteError as error:
            return self._failed(lease, error)
        try:
            response = await self._fetcher.fetch(lease.request)
        except SiteError as error:
            return self._failed(lease, error)
        finally:
            await fetch_ended(lease.token)
        if response.redirect is not None:
            return self._redirected(lease, response, response.redirect)
        if response.skipped:
            return self._ended(lease, Done(response.skipped, bytes=response.wire_bytes), response)
        return self._parsed(lease, response)

    def _parsed(self, lease: Lease, response: Response) -> Ended:
        page = Page(lease.request, response)
        try:
            with self._watchdog:
                found = harvest(self._spider, page, self._scope, self._limits)
        except SpiderError as error:
            return self._failed(lease, error, response)
        return self._ended(lease, Done(bytes=response.wire_bytes, items=found.items), response, found)

    def _redirected(self, lease: Lease, response: Response, target: str) -> Ended:
        """The target is a found request of its own: it has its own dedup, scope, robots, delay and shard."""
        request = lease.request
        hops = (*request.redirected_from, request.url)
        if target in hops:
            return self._ended(lease, Bury("redirect_loop", " -> ".join((*hops, target))), response)
        if len(hops) > self._settings.fetch.redirects_max:
            return self._ended(lease, Bury("redirects_max", " -> ".join((*hops, target))), response)
        next_request = redirected(request, response.status, target)
        if not self._scope.admits(next_request, from_host=lease.host):
            return self._ended(lease, Done("redirect_out_of_scope", bytes=response.wire_bytes), response)
        return self._ended(lease, Done("redirect", bytes=response.wire_bytes), response, found=(next_request,))

    # -- robots ------------------------------------------------------------------------------------------------------

    async def _visit_robots(self, lease: Lease, fetch_ended: FetchEnded) -> Ended:
        """Fetch an origin's robots.txt for the whole fleet. What it says is set before its lease ends."""
        try:
            answer: Response | SiteError = await self._fetcher.fetch(
                lease.request, follow=ROBOTS_REDIRECTS_MAX, any_type=True, keep_bytes=ROBOTS_BYTES_MAX
            )
        except SiteError as error:
            answer = error
        finally:
            await fetch_ended(lease.token)
        found = robots_from(answer)
        if isinstance(found, SiteError):
            return Ended(lease=lease, outcome=Retry(found.retry_after_s or 0.0, found.reason, blame="host"))
        text, expires_s = found
        record = Robots(origin=origin(lease.request.url), text=text, expires_s=expires_s)
        await self._call(lambda: self._frontier.set_host(lease.host, robots=record))
        return Ended(lease=lease, outcome=Done("robots.txt"))

    async def _allowed(self, lease: Lease) -> bool:
        """Whether the origin's robots.txt lets us fetch this page. Cost: a read of the host record when it is new."""
        of = origin(lease.request.url)
        stamp, parsed = self._robots.get(of, (0, None))
        if parsed is None or stamp != lease.robots_ms:
            record = await self._call(lambda: self._frontier.host(lease.host))
            text = next((one.text for one in record.robots if one.origin == of), None)
            if text is None:  # it expired between the lease and now: the next lease of this host renews it
                raise SiteError("robots_expired")
            parsed = rules(text)
            if len(self._robots) >= ORIGINS_MAX:
                self._robots.clear()
            self._robots[of] = (lease.robots_ms, parsed)
        return parsed.allowed(self._fetcher.user_agent, lease.request.url)

    # -- endings -----------------------------------------------------------------------------------------------------

    def _failed(self, lease: Lease, error: SiteError | SpiderError, response: Response | None = None) -> Ended:
        outcome = judge(error, lease.attempts, self._policy, self._random.random())
        return self._ended(lease, outcome, response, status=getattr(error, "status", 0))

    def _ended(
        self,
        lease: Lease,
        outcome: Outcome,
        response: Response | None = None,
        harvested: Harvest | None = None,
        *,
        found: tuple[Request, ...] = (),
        status: int = 0,
    ) -> Ended:
        entry = None
        if self._settings.exchange.history:
            entry = LogEntry(
                fingerprint=lease.fingerprint,
                outcome=KINDS[type(outcome)],
                reason=outcome.reason,
                detail=getattr(outcome, "detail", ""),
                status=response.status if response else status,
                seconds=round(response.seconds, 6) if response else 0.0,
                bytes=response.wire_bytes if response else 0,
                items=harvested.items if harvested else 0,
                links=len(harvested.found) if harvested else len(found),
                attempt=lease.attempts + 1,
                depth=lease.request.depth,
                worker=self._worker,
            )
        return Ended(
            lease=lease,
            outcome=outcome,
            messages=harvested.messages if harvested else (),
            found=harvested.found if harvested else found,
            entry=entry,
            ended_at=response.fetched_at if response else datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
