"""The floor: aiohttp and lxml in one loop, with a set and a queue in memory: `bare.py URL OUT.jsonl [careful]`.

No frontier, no politeness, no robots.txt, no crash safety: what the two libraries cost by themselves. As most people
write it, every href is joined; `careful` makes the hrefs of a page distinct first.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import IO
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp
import lxml.html
import uvloop

CONCURRENCY = 32

Join = Callable[[str, list[str]], set[str]]


def naive(url: str, hrefs: list[str]) -> set[str]:
    return {urldefrag(urljoin(url, href)).url for href in hrefs}


def careful(url: str, hrefs: list[str]) -> set[str]:
    return {urljoin(url, href) for href in {href.partition("#")[0] for href in hrefs}}


def parse(url: str, body: bytes, join: Join) -> tuple[dict[str, object], set[str]]:
    """The record of a page and the absolute targets of its links."""
    tree = lxml.html.document_fromstring(body, parser=lxml.html.HTMLParser(encoding="utf-8"))
    hrefs = tree.xpath("//a/@href", smart_strings=False)
    record = {
        "url": url,
        "title": tree.xpath("string(//title)"),
        "h1": tree.xpath("string(//h1)"),
        "description": tree.xpath("string(//meta[@name='description']/@content)"),
        "text": tree.xpath("normalize-space(//body)"),
        "links": len(hrefs),
    }
    return record, join(url, hrefs)


async def crawl(start: str, out: IO[str], join: Join) -> None:
    site = urlsplit(start).netloc
    seen = {start}
    waiting: asyncio.Queue[str] = asyncio.Queue()
    waiting.put_nowait(start)

    async def fetch_all(session: aiohttp.ClientSession) -> None:
        while True:
            url = await waiting.get()
            try:
                async with session.get(url) as response:
                    body = await response.read()
                if response.status == 200 and response.content_type == "text/html":
                    record, targets = parse(url, body, join)
                    out.write(json.dumps(record) + "\n")
                    for target in targets:
                        if target not in seen and urlsplit(target).netloc == site:
                            seen.add(target)
                            waiting.put_nowait(target)
            finally:
                waiting.task_done()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        fetchers = [asyncio.create_task(fetch_all(session)) for _ in range(CONCURRENCY)]
        await waiting.join()
        for fetcher in fetchers:
            fetcher.cancel()


def main(url: str, path: str, style: str = "naive") -> None:
    with open(path, "w", encoding="utf-8") as out:
        uvloop.run(crawl(url, out, careful if style == "careful" else naive))


if __name__ == "__main__":
    main(*sys.argv[1:])
