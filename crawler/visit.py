"""One visit: a lease becomes an outcome, with what was found on the way. A worker's decisions, page by page."""

from __future__ import annotations

import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import msgspec

from crawler import raw
from crawler.caller import Caller
from crawler.commit import Ended
from crawler.ending import Endings
from crawler.error import SiteError, SpiderError
from crawler.fetch import Fetcher, Response
from crawler.frontier import Frontier
from crawler.guard import Guard
from crawler.harvest import Limits, Scope, harvest
from crawler.httpstatus import redirected
from crawler.manners import manners_of
from crawler.model import Bury, Done, Lease, Request, Retry, Robots
from crawler.page import Page
from crawler.retry import Policy, judge
from crawler.revisit import UNCHANGED, conditional
from crawler.robots import ROBOTS_BYTES_MAX, robots_from, rules
from crawler.rulebook import Rulebook
from crawler.session import Session
from crawler.settings import Settings
from crawler.spider import Spider
from crawler.trap import Sight, Traps
from crawler.url import origin
from crawler.weigh import Scales

if TYPE_CHECKING:
    from crawler.cache import Cache

ROBOTS_REDIRECTS_MAX = 5
"""RFC 9309 §2.3.1.2: at least five are followed."""
REFUSED_ROBOTS_S = 5.0
"""How long no robots.txt is asked for where the guard lets nobody go."""
_NO_SIGHT = Sight()

FetchEnded = Callable[[str, float], Awaitable[None]]
"""Told the lease's token at the moment when its fetch ends, and how many seconds the answer took; 0: none came."""


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
        guard: Guard | None = None,
        session: Session | None = None,
        keep_raw: bool = False,
        cache: Cache | None = None,
    ) -> None:
        """`watchdog` is entered around the parsing of each page. `keep_raw`: some store takes whole pages."""
        self.spider_name = spider.name
        self._frontier = frontier
        self._spider = spider
        self._settings = settings
        self._call = call
        self._scope = scope
        self._limits = limits
        self._watchdog = watchdog
        self._keep_raw = keep_raw
        self._guard = guard or Guard()
        self._session = session
        self._cache = cache
        self._policy = Policy.of(settings)
        self._rulebook = Rulebook(frontier, call)
        self._agent = settings.robots.agent
        self._manners = manners_of(settings)
        self._traps = Traps(settings.traps, datetime.now(UTC).year)
        self._random = random.Random()
        self._ended = Endings(settings, worker).ended
        self._scales = Scales(settings.content, settings.revisit)

    async def __aenter__(self) -> Self:
        table = self._settings.fetch
        # Who waits for a connection of the pool must not look like a host that cannot be connected to.
        pool = max(table.connections_max, self._settings.worker.concurrency)
        self._fetcher = await Fetcher(
            msgspec.structs.replace(table, connections_max=pool),
            guard=self._guard,
            session=self._session,
            patient=True,
            sniff=self._settings.content.sniff,
            per_address=self._settings.politeness.per_address,
        ).__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._fetcher.__aexit__(None, None, None)
        if self._cache is not None:
            self._cache.close()

    async def visit(self, lease: Lease, fetch_ended: FetchEnded) -> Ended:
        """Fetch and parse one lease. A bug of ours ends like one of the spider's: the page is buried with the
        traceback, the worker lives."""
        takes: list[raw.Take] | None = [] if self._keep_raw else None
        try:
            visit = self._visit_robots if lease.robots else self._visit_page
            ended = await visit(lease, fetch_ended, takes)
            return self._with_raw(ended, takes) if takes else ended
        except Exception:
            return self._failed(lease, SpiderError("bug", traceback.format_exc()))

    def _with_raw(self, ended: Ended, takes: list[raw.Take]) -> Ended:
        """What was fetched leaves with the items, in one batch; nothing when the page is tried again."""
        if isinstance(ended.outcome, Retry):
            return ended
        limit = self._settings.exchange.message_bytes_max
        messages = raw.messages(takes, ended.lease, ended.outcome, spider=self.spider_name, message_bytes_max=limit)
        return msgspec.structs.replace(ended, messages=(*ended.messages, *messages))

    async def _fetch(self, lease: Lease, request: Request, **options: Any) -> Response:
        """Fetch, and keep the answer in the cache if there is one."""
        if self._cache is None:
            return await self._guarded(request, **options)
        try:
            response = await self._guarded(request, **options)
        except SiteError as error:
            self._cache.put(lease.request, error, robots=lease.robots)
            raise
        self._cache.put(lease.request, response, robots=lease.robots)
        return response

    async def _guarded(self, request: Request, **options: Any) -> Response:
        """Fetch; what the guard refuses once more, if seeds have named hosts since this worker began."""
        try:
            return await self._fetcher.fetch(request, **options)
        except SiteError as error:
            if error.reason != "guard" or not self._guard.learn((await self._call(self._frontier.record)).named):
                raise
        return await self._fetcher.fetch(request, **options)

    async def _visit_page(self, lease: Lease, fetch_ended: FetchEnded, takes: list[raw.Take] | None) -> Ended:
        try:
            if lease.robots_ms and not (rule := await self._rulebook.judge(lease, self._product)).allow:
                return self._ended(lease, Done("robots", fetched=False), detail=str(rule))
        except SiteError as error:
            return self._failed(lease, error)
        request, sight = lease.request, _NO_SIGHT
        if not request.visit:  # a later visit brings nothing new because it need not
            sight = self._traps.judge(request.url, depth=request.depth)
        if sight.refusal:
            return self._ended(lease, Bury("trap", sight.refusal, fetched=False))
        if (kept := self._kept(lease)) is not None:
            ended = self._failed(lease, kept) if isinstance(kept, SiteError) else self._answered(lease, kept, sight)
            assert not isinstance(ended.outcome, Retry)
            return msgspec.structs.replace(ended, outcome=msgspec.structs.replace(ended.outcome, fetched=False))
        if request.before is not None:
            request = conditional(request, self._settings.revisit)
        start, took_s, blamed = monotonic(), 0.0, False
        try:
            response = await self._fetch(lease, request, takes=takes)
            took_s = response.seconds
        except SiteError as error:
            took_s, blamed = _took_s(error, start), error.blame == "host"
            return self._failed(lease, error)
        finally:
            if not blamed:  # else the host is not free before the outcome has told how long it is to be left alone
                await fetch_ended(lease.token, took_s)
        return self._answered(lease, response, sight)

    def _kept(self, lease: Lease) -> Response | SiteError | None:
        """What the cache has for a first visit. Whole pages must come over the wire."""
        if self._cache is None or self._keep_raw or lease.request.visit:
            return None
        return self._cache.get(lease.request, robots=lease.robots)

    def _answered(self, lease: Lease, response: Response, sight: Sight) -> Ended:
        if response.redirect is not None:
            return self._redirected(lease, response, response.redirect)
        if response.skipped:
            return self._ended(lease, Done(response.skipped, bytes=response.wire_bytes), response)
        return self._parsed(lease, response, sight)

    def _parsed(self, lease: Lease, response: Response, sight: Sight) -> Ended:
        page = Page(lease.request, response, self._manners.links)
        now, is_same = self._scales.fetched(lease.request, response.body)
        if is_same:
            return self._ended(lease, Done(UNCHANGED, bytes=response.wire_bytes), response, now=now)
        try:
            with self._watchdog:
                found = harvest(self._spider, page, self._scope, self._limits, self._manners)
                self._traps.saw(sight, page.words, (request.url for request in found.found))
        except (SiteError, SpiderError) as error:
            return self._failed(lease, error, response)
        weighed = self._scales.weigh(lease.request, page, found, now, lease.host)
        outcome = Done(weighed.reason, bytes=response.wire_bytes, items=weighed.found.items)
        return self._ended(lease, outcome, response, weighed=weighed)

    def _redirected(self, lease: Lease, response: Response, target: str) -> Ended:
        """The target is a found request of its own: it has its own dedup, scope, robots, delay and shard."""
        request = lease.request
        hops = (*request.redirected_from, request.url)
        formed = self._scope.formed(target)
        if formed not in hops:  # else the server insists on another form of the same page
            target = formed
        if target in hops:
            return self._ended(lease, Bury("redirect_loop", " -> ".join((*hops, target))), response)
        if len(hops) > self._settings.fetch.redirects_max:
            return self._ended(lease, Bury("redirects_max", " -> ".join((*hops, target))), response)
        next_request = redirected(request, response.status, target)
        if request.visit:  # the target has visits of its own
            next_request = msgspec.structs.replace(next_request, visit=0)
        if not self._scope.admits(next_request, from_host=lease.host):
            return self._ended(lease, Done("redirect_out_of_scope", bytes=response.wire_bytes), response)
        return self._ended(lease, Done("redirect", bytes=response.wire_bytes), response, found=(next_request,))

    # -- robots ------------------------------------------------------------------------------------------------------

    async def _visit_robots(self, lease: Lease, fetch_ended: FetchEnded, takes: list[raw.Take] | None) -> Ended:
        """Fetch an origin's robots.txt for the whole fleet. What it says is set before its lease ends, and
        once a store that takes whole pages is sure to get it."""
        if (kept := self._kept(lease)) is not None:
            return self._robots_ended(lease, kept, Done("robots.txt", fetched=False))
        start, took_s, blamed = monotonic(), 0.0, False
        answer: Response | SiteError
        try:
            options = {"follow": ROBOTS_REDIRECTS_MAX, "any_type": True, "keep_bytes": ROBOTS_BYTES_MAX}
            answer = response = await self._fetch(lease, lease.request, takes=takes, **options)
            took_s = response.seconds
        except SiteError as error:
            answer, took_s = error, _took_s(error, start)
            blamed = error.reason != "guard" and isinstance(robots_from(error), SiteError)
        finally:
            if not blamed:
                await fetch_ended(lease.token, took_s)
        if isinstance(answer, SiteError) and answer.reason == "guard":
            if not answer.status:
                return await self._refused_robots(lease)
            answer = SiteError("bad_redirect", answer.detail, final=True, status=answer.status)
        return self._robots_ended(lease, answer, Done("robots.txt"))

    def _robots_ended(self, lease: Lease, answer: Response | SiteError, done: Done) -> Ended:
        found = robots_from(answer)
        if isinstance(found, SiteError):
            return Ended(lease=lease, outcome=Retry(found.retry_after_s or 0.0, found.reason, blame="host"))
        text, expires_s = found
        record = Robots(origin=origin(lease.request.url), text=text, expires_s=expires_s)
        asked_s = self._crawl_delay_s(text)
        return Ended(
            lease=lease,
            outcome=done,
            tell=lambda frontier: frontier.set_host(lease.host, robots=record, crawl_delay_s=asked_s),
        )

    @property
    def _product(self) -> str:
        """Whose rules count."""
        return self._agent or self._fetcher.user_agent

    def _crawl_delay_s(self, text: str) -> float:
        """The Crawl-delay that counts for us, within what the settings allow; 0: none."""
        longest = self._settings.robots.delay_max_s
        asked = rules(text).crawl_delay(self._product) if longest else None
        return min(asked or 0.0, longest)

    async def _refused_robots(self, lease: Lease) -> Ended:
        """The guard refused the robots.txt, and will refuse this host's pages: each is buried as such."""
        record = Robots(origin=origin(lease.request.url), expires_s=REFUSED_ROBOTS_S)
        await self._call(lambda: self._frontier.set_host(lease.host, robots=record))
        return Ended(lease=lease, outcome=Done("robots.txt", fetched=False))

    # -- endings -----------------------------------------------------------------------------------------------------

    def _failed(self, lease: Lease, error: SiteError | SpiderError, response: Response | None = None) -> Ended:
        outcome = judge(error, lease.attempts, self._policy, self._random.random())
        return self._ended(lease, outcome, response, status=getattr(error, "status", 0))


def _took_s(error: SiteError, start: float) -> float:
    """What a fetch that brought nothing says of the response time. An answer, and one that did not come in time, do;
    trouble that the host answers at once, or does not answer at all, does not make it a quick one."""
    told = error.final and error.status > 0
    return monotonic() - start if told or error.reason.startswith("timeout_") else 0.0
