"""crawlee-python crawls a site with its ParselCrawler: `crawlee_site.py URL OUT.jsonl`. Its queue is in memory."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import IO
from urllib.parse import urljoin, urlsplit

from crawlee import ConcurrencySettings, service_locator
from crawlee.configuration import Configuration
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient


async def crawl(start: str, out: IO[str]) -> None:
    service_locator.set_configuration(Configuration(purge_on_start=False, log_level="ERROR"))
    service_locator.set_storage_client(MemoryStorageClient())
    site = urlsplit(start).netloc
    crawler = ParselCrawler(
        concurrency_settings=ConcurrencySettings(min_concurrency=32, desired_concurrency=32, max_concurrency=32),
        respect_robots_txt_file=True,
        use_session_pool=False,
        configure_logging=False,
        ignore_http_error_status_codes=[404],
    )

    @crawler.router.default_handler
    async def handle(context: ParselCrawlingContext) -> None:
        response = context.http_response
        if response.status_code != 200 or "html" not in response.headers.get("content-type", ""):
            return
        page = context.selector
        hrefs = page.xpath("//a/@href").getall()
        record = {
            "url": context.request.url,
            "title": page.xpath("string(//title)").get(),
            "h1": page.xpath("string(//h1)").get(),
            "description": page.xpath("//meta[@name='description']/@content").get(),
            "text": page.xpath("normalize-space(//body)").get(),
            "links": len(hrefs),
        }
        out.write(json.dumps(record) + "\n")
        targets = (urljoin(context.request.url, href) for href in {href.partition("#")[0] for href in hrefs} - {""})
        await context.add_requests([url for url in targets if urlsplit(url).netloc == site])

    await crawler.run([start])


def main(url: str, path: str) -> None:
    with open(path, "w", encoding="utf-8") as out:
        asyncio.run(crawl(url, out))


if __name__ == "__main__":
    main(*sys.argv[1:])
