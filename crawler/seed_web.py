"""Lists of seeds on the web: fetched whole within the fetcher's limits, and read as a file."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import BinaryIO

from crawler.fetch import Fetcher
from crawler.model import Request
from crawler.seed_sources import Fetch
from crawler.tables import FetchTable
from crawler.url import canonical


def fetch_with(settings: FetchTable) -> Fetch:
    """What `seed` takes as `fetch`: it raises SiteError, or BadUrl for what is no web URL. Memory: one list, at
    most `decoded_bytes_max` (a sitemap is at most 50 MB by its standard). Not for use within an event loop."""

    async def fetch(url: str) -> bytes:
        async with Fetcher(settings) as fetcher:
            request = Request(url=canonical(url))
            return (await fetcher.fetch(request, follow=settings.redirects_max, any_type=True)).body

    def opened(url: str) -> BinaryIO:
        return BytesIO(asyncio.run(fetch(url)))

    return opened
