"""So many at a time by key: the fetches to one IP address of one worker. For one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque


class Gate:
    """First come, first served: who leaves hands his place to the one who waits for longest."""

    def __init__(self, places: int) -> None:
        """places: for each key, 1 or more."""
        self._places = places
        self._inside: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[asyncio.Future[None]]] = defaultdict(deque)

    def enter(self, key: str) -> bool:
        """Whether there was a place, which is then the caller's until he leaves."""
        if self._inside[key] >= self._places:
            return False
        self._inside[key] += 1
        return True

    async def wait(self, key: str) -> None:
        """Enter as soon as there is a place."""
        if self.enter(key):
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key].append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(key)
            raise

    def leave(self, key: str) -> None:
        """Give the place back."""
        queue = self._waiting.get(key, ())
        while queue:
            place = queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._waiting.pop(key, None)
        self._inside[key] -= 1
        if not self._inside[key]:
            del self._inside[key]
