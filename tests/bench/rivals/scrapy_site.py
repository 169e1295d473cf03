"""Scrapy crawls a site: `scrapy_site.py URL OUT.jsonl STYLE [REDIS_URL]`.

tutorial: a Spider that follows with `response.follow_all(css="a")`, as its tutorial shows. crawlspider: a CrawlSpider
with a LinkExtractor, as its documentation shows for whole sites. tuned: the hrefs of a page are made distinct by hand
before they become requests. With a Redis it uses scrapy-redis's scheduler and duplicate filter, as that one's
documentation shows.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule


def record(response: Response) -> dict[str, Any]:
    return {
        "url": response.url,
        "title": response.xpath("string(//title)").get(),
        "h1": response.xpath("string(//h1)").get(),
        "description": response.xpath("//meta[@name='description']/@content").get(),
        "text": response.xpath("normalize-space(//body)").get(),
    }


class FromOne:
    """Starts at one URL and stays on its host."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.first = url
        self.allowed_domains = [urlsplit(url).hostname or ""]

    async def start(self) -> AsyncIterator[Any]:
        yield scrapy.Request(self.first)


class Tutorial(FromOne, scrapy.Spider):
    name = "tutorial"

    def parse(self, response: Response) -> Iterator[Any]:
        if isinstance(response, HtmlResponse):
            yield record(response) | {"links": len(response.css("a"))}
            yield from response.follow_all(css="a", callback=self.parse)


class Tuned(FromOne, scrapy.Spider):
    name = "tuned"

    def parse(self, response: Response) -> Iterator[Any]:
        if not isinstance(response, HtmlResponse):
            return
        hrefs = response.xpath("//a/@href").getall()
        yield record(response) | {"links": len(hrefs)}
        targets = {response.urljoin(path) for path in {href.partition("#")[0] for href in hrefs} - {""}}
        yield from (scrapy.Request(url) for url in targets if url.startswith("http"))


class Documented(FromOne, CrawlSpider):
    name = "documented"
    rules = (Rule(LinkExtractor(), callback="parse_page", follow=True),)

    def parse_start_url(self, response: Response) -> Iterator[Any]:
        return self.parse_page(response)

    def parse_page(self, response: Response) -> Iterator[Any]:
        if isinstance(response, HtmlResponse):
            yield record(response) | {"links": len(response.xpath("//a/@href"))}


STYLES = {"tutorial": Tutorial, "crawlspider": Documented, "tuned": Tuned}


def shared(redis_url: str) -> dict[str, Any]:
    return {
        "SCHEDULER": "scrapy_redis.scheduler.Scheduler",
        "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
        "REDIS_URL": redis_url,
    }


def main(url: str, out: str, style: str, redis_url: str = "") -> None:
    process = CrawlerProcess(
        {
            **(shared(redis_url) if redis_url else {}),
            "CONCURRENT_REQUESTS": 32,
            "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
            "DOWNLOAD_DELAY": 0,
            "ROBOTSTXT_OBEY": True,
            "COOKIES_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "LOG_LEVEL": "WARNING",
            "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
            "ASYNCIO_EVENT_LOOP": "uvloop.Loop",
            "FEEDS": {out: {"format": "jsonlines", "overwrite": True}},
        }
    )
    process.crawl(STYLES[style], url=url)
    process.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
