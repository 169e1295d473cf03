"""What robots.txt says of pages: the rules of the origins that a worker meets, read from the frontier, kept parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from crawler.caller import Caller
from crawler.error import SiteError
from crawler.frontier import Frontier
from crawler.model import Lease
from crawler.robots import Rule, Rules, rules
from crawler.url import origin

ORIGINS_MAX: Final = 10_000
"""Origins whose rules a worker keeps parsed."""
ASK_MAX: Final = 32
"""Origins that are asked for in one trip: each may have half a megabyte of rules."""

Stamped = tuple[int, Rules]
"""The stamp of the record (`Lease.robots_ms`), and what it says."""


class Rulebook:
    """In the loop's thread only."""

    def __init__(self, frontier: Frontier, call: Caller) -> None:
        self._frontier = frontier
        self._call = call
        self._kept: dict[str, Stamped] = {}
        self._asked: dict[str, asyncio.Future[Stamped | None]] = {}
        self._waiting: list[str] = []
        """Those that are asked for and not yet on their way."""
        self._asking: asyncio.Task[None] | None = None

    async def judge(self, lease: Lease, agent: str) -> Rule:
        """What the origin's robots.txt says of this page to this user agent. Raises SiteError `robots_expired`.
        Cost: nothing that matters where the rules are known; else a trip, shared with whoever asks at the same time."""
        of = origin(lease.request.url)
        found = self._kept.get(of)
        if found is None or found[0] < lease.robots_ms:
            found = await self._read(of)
            if found is not None and found[0] < lease.robots_ms:  # somebody had asked before they changed
                found = await self._read(of)
            if found is None:  # it expired between the lease and now: the next lease of this host renews it
                raise SiteError("robots_expired")
            if len(self._kept) >= ORIGINS_MAX:
                self._kept.clear()
            self._kept[of] = found
        return found[1].judge(agent, lease.request.url)

    async def _read(self, of: str) -> Stamped | None:
        if of not in self._asked:
            self._asked[of] = asyncio.get_running_loop().create_future()
            self._waiting.append(of)
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asked[of])  # others may wait for it too

    async def _ask(self) -> None:
        """Trip after trip, one at a time: what is asked for meanwhile goes with the next."""
        try:
            await asyncio.sleep(0)  # the leases of one call begin at the same time
            while self._waiting:
                some, self._waiting = self._waiting[:ASK_MAX], self._waiting[ASK_MAX:]
                await self._answer(some)
        finally:
            self._asking = None

    async def _answer(self, some: Sequence[str]) -> None:
        try:
            records = await self._call(partial(self._frontier.robots, some))
            found = {one.origin: (one.fetched_ms, rules(one.text)) for one in records}
        except Exception as error:
            for of in some:
                asked = self._asked.pop(of)
                asked.set_exception(error)
                asked.exception()  # who waited for it may be gone: then nobody else looks
            return
        for of in some:
            self._asked.pop(of).set_result(found.get(of))
