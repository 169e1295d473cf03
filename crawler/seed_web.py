"""Lists of seeds on the web: fetched whole within the fetcher's limits, and read as a file."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import BinaryIO

import msgspec

from crawler.fetch import Fetcher
from crawler.guard import Guard
from crawler.model import Request
from crawler.seed_sources import Fetch
from crawler.session import Session
from crawler.tables import FetchTable
from crawler.url import canonical


def fetch_with(settings: FetchTable, guard: Guard, session: Session, *, bytes_max: int = 0) -> Fetch:
    """What `seed` takes as `fetch`: it raises SiteError, or BadUrl for what is no web URL. Memory: one list, at most
    `bytes_max`, or what `settings` allows a page where that is more. Not for use within an event loop.

    guard: judges each list and redirect, also those that lists name."""
    settings = msgspec.structs.replace(
        settings,
        body_bytes_max=max(settings.body_bytes_max, bytes_max),
        decoded_bytes_max=max(settings.decoded_bytes_max, bytes_max),
    )

    async def fetch(url: str) -> bytes:
        async with Fetcher(settings, guard=guard, session=session) as fetcher:
            request = Request(url=canonical(url))
            return (await fetcher.fetch(request, follow=settings.redirects_max, any_type=True)).body

    def opened(url: str) -> BinaryIO:
        return BytesIO(asyncio.run(fetch(url)))

    return opened
