"""Lists of seeds on the web: fetched whole within the fetcher's limits, and read as a file.

Lists name lists, thousands of them, and are as little a licence to break robots.txt or to hurry a host as pages are.
One seeder fetches one after the other; that workers ask the same host meanwhile it does not know.
"""

from __future__ import annotations

import asyncio
import logging
from io import BytesIO
from time import monotonic, time
from typing import Any, BinaryIO, Final

import msgspec

from crawler.error import SiteError
from crawler.fetch import Fetcher
from crawler.guard import Guard
from crawler.hours import HostHours
from crawler.httpstatus import redirected
from crawler.model import Request
from crawler.response import Response
from crawler.robots import ROBOTS_BYTES_MAX, Rules, robots_from, rules
from crawler.seed_sources import Fetch
from crawler.session import Session
from crawler.settings import Settings
from crawler.url import canonical, host, origin

log = logging.getLogger("crawler.seed")

CLOSED_TICK_S: Final = 60.0
"""The clock is looked at again after so long: it may be set, and machines sleep."""
ROBOTS_REDIRECTS_MAX: Final = 5
"""RFC 9309 §2.3.1.2."""


def fetch_with(settings: Settings, guard: Guard, session: Session) -> Fetch:
    """What `seed` takes as `fetch`: it raises SiteError (`robots` where robots.txt forbids the list, `retry_after`
    where the host wants to be left alone for longer than is waited), or BadUrl for what is no web URL. It waits the
    host's delay, and for the hours in which it may be asked. Memory: one list, at most `sitemaps.bytes_max`, or what
    `fetch` allows a page where that is more. Not for use within an event loop.

    guard: judges each list and redirect, also those that lists name."""
    lists = _Lists(settings, guard, session)
    return lists.opened


class _Lists:
    """What one seeder knows of the hosts that it asks for lists."""

    def __init__(self, settings: Settings, guard: Guard, session: Session) -> None:
        table, bytes_max = settings.fetch, settings.sitemaps.bytes_max
        self._table = msgspec.structs.replace(
            table,
            body_bytes_max=max(table.body_bytes_max, bytes_max),
            decoded_bytes_max=max(table.decoded_bytes_max, bytes_max),
        )
        self._settings = settings
        self._hours = HostHours(settings.politeness)
        self._guard = guard
        self._session = session
        self._robots: dict[str, Response | SiteError] = {}
        """Answers to the question for robots.txt, by origin."""
        self._rules: dict[str, Rules | SiteError] = {}
        self._free: dict[str, float] = {}
        """When a host may be asked again, on the monotonic clock."""

    def opened(self, url: str) -> BinaryIO:
        return BytesIO(asyncio.run(self._list(canonical(url))).body)

    async def _list(self, url: str) -> Response:
        async with Fetcher(self._table, guard=self._guard, session=self._session) as fetcher:
            if url == f"{origin(url)}/robots.txt":
                answer = await self._robots_of(fetcher, origin(url))
                if isinstance(answer, SiteError):
                    raise answer
                return answer
            request = Request(url=url)
            for _ in range(self._table.redirects_max + 1):
                await self._judge(fetcher, request.url)
                response = await self._asked(fetcher, request)
                if response.redirect is None:
                    return response
                request = redirected(request, response.status, response.redirect)
        detail = f"more than {self._table.redirects_max} redirects, the last to {request.url}"
        raise SiteError("redirects_max", detail, final=True)

    async def _judge(self, fetcher: Fetcher, url: str) -> None:
        """Raises SiteError where robots.txt forbids this, or cannot be had."""
        if not self._settings.politeness.robots:
            return
        self._guard.check(url)
        found = self._rules.get(place := origin(url))
        if found is None:
            told = robots_from(await self._robots_of(fetcher, place))
            found = self._rules[place] = told if isinstance(told, SiteError) else rules(told[0])
        if isinstance(found, SiteError):
            raise found
        rule = found.judge(self._agent(fetcher), url)
        if not rule.allow:
            raise SiteError("robots", f"{url}: {rule}", final=True)

    async def _robots_of(self, fetcher: Fetcher, place: str) -> Response | SiteError:
        """Asked for once."""
        answer = self._robots.get(place)
        if answer is None:
            options = {"follow": ROBOTS_REDIRECTS_MAX, "keep_bytes": ROBOTS_BYTES_MAX}
            try:
                answer = await self._asked(fetcher, Request(url=f"{place}/robots.txt"), **options)
            except SiteError as error:
                answer = error
            self._robots[place] = answer
        return answer

    async def _asked(self, fetcher: Fetcher, request: Request, **options: Any) -> Response:
        """Fetch when the host may be asked, and note when it may be again."""
        name, politeness = host(request.url), self._settings.politeness
        await self._until_open(name)
        wait_s = self._free.get(name, 0.0) - monotonic()
        if wait_s > max(politeness.delay_max_s, self._delay_s(fetcher, request.url)):
            raise SiteError("retry_after", f"{name} asked to be left alone for {wait_s:.0f} s more", final=True)
        await asyncio.sleep(max(wait_s, 0.0))
        pause_s = 0.0
        try:
            return await fetcher.fetch(request, any_type=True, **options)
        except SiteError as error:
            if error.blame == "host":
                pause_s = max(error.retry_after_s or 0.0, politeness.host_backoff_s)
            raise
        finally:
            self._free[name] = monotonic() + max(pause_s, self._delay_s(fetcher, request.url))

    async def _until_open(self, name: str) -> None:
        """Wait until the host may be asked at this hour. It is told, since it can take the whole day."""
        told = ""
        while wait_s := self._hours.wait_s(name, now_ms := int(time() * 1000)):
            opens = self._hours.opens(name, now_ms)
            if opens != told:
                log.warning("%s is closed at this hour (politeness.hours): waiting until %s", name, opens)
                told = opens
            await asyncio.sleep(min(wait_s, CLOSED_TICK_S))

    def _delay_s(self, fetcher: Fetcher, url: str) -> float:
        """As workers wait: what settings say of this host, else the longer of the crawl's delay and Crawl-delay."""
        politeness = self._settings.politeness
        own = politeness.hosts.get(host(url))
        if own is not None and own.delay_s is not None:
            return own.delay_s
        found = self._rules.get(origin(url))
        asked_s = found.crawl_delay(self._agent(fetcher)) if isinstance(found, Rules) else None
        return max(politeness.delay_s, min(asked_s or 0.0, self._settings.robots.delay_max_s))

    def _agent(self, fetcher: Fetcher) -> str:
        return self._settings.robots.agent or fetcher.user_agent
