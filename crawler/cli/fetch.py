"""`crawler fetch`: one page as a worker would get it, with everything that was decided on the way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crawler.cli import option
from crawler.cli.text import number, printable, seconds, shorten, size
from crawler.error import SettingsError, SiteError, SpiderError

if TYPE_CHECKING:
    from crawler.harvest import Harvest
    from crawler.model import Request
    from crawler.page import Page
    from crawler.response import Response
    from crawler.settings import Settings
    from crawler.spider import Spider

EXAMPLES = """\
  crawler fetch https://quotes.toscrape.com                         status, headers, charset, links, items
  crawler fetch https://quotes.toscrape.com --spider quotes.py:Quotes   what this spider finds there
  crawler fetch https://quotes.toscrape.com --body > page.html      just the body, as received and decompressed
  crawler fetch https://quotes.toscrape.com --to detail --spider shop.py:Shop    another method of the spider

Redirects are followed and shown. robots.txt is not asked: this is one request, by you. Exit code 1 when the page fails.
"""

VALUE_WIDTH = 100
"""Longer header values and items are cut in the middle, unless `--full`."""


def add(commands: option.Commands) -> None:
    text = "fetch one page and show how a worker and a spider see it"
    parser = option.command(commands, "fetch", run, text, EXAMPLES)
    parser.add_argument("url", metavar="URL")
    parser.add_argument(
        "--to", default="parse", metavar="METHOD", help="spider method that gets the page; default parse"
    )
    parser.add_argument("--full", action="store_true", help="cut nothing, and list the links")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--body", action="store_true", help="write only the body to stdout")
    group.add_argument("--json", action="store_true", help="one JSON object")
    option.add_spider(parser)
    option.add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    import asyncio

    settings = option.load(arguments)
    from crawler import app
    from crawler.error import BadUrl
    from crawler.model import Request
    from crawler.url import canonical

    kind = app.load_spider(settings)
    spider = app.make_spider(kind, settings.spider)
    if not callable(getattr(spider, arguments.to, None)):
        raise SettingsError(f"--to {arguments.to}: {settings.crawl.spider} has no such method")
    try:
        request = Request(url=canonical(arguments.url), to=arguments.to)
    except BadUrl as error:
        raise SettingsError(f"{printable(arguments.url)}: {error}") from None
    hops: list[Response] = []
    try:
        asyncio.run(_follow(settings, request, hops))
    except SiteError as error:
        for hop in hops:
            print(_hop(hop), file=sys.stderr)
        print(f"crawler: fetch: {printable(str(error))}", file=sys.stderr)
        return 1
    if arguments.body:
        sys.stdout.buffer.write(hops[-1].body)
        return 0
    return _see(arguments, settings, spider, request, hops)


async def _follow(settings: Settings, request: Request, hops: list[Response]) -> None:
    """Fetch and follow redirects, each answer appended to `hops`. Raises SiteError."""
    from crawler.fetch import Fetcher
    from crawler.httpstatus import redirected

    async with Fetcher(settings.fetch) as fetcher:
        while True:
            response = await fetcher.fetch(request)
            hops.append(response)
            if response.redirect is None:
                return
            if len(hops) > settings.fetch.redirects_max:
                raise SiteError("redirects_max", f"more than {settings.fetch.redirects_max} redirects")
            request = redirected(request, response.status, response.redirect)


def _see(
    arguments: argparse.Namespace, settings: Settings, spider: Spider, request: Request, hops: list[Response]
) -> int:
    """Let the spider look at the last answer, and show all of it."""
    import msgspec

    from crawler import child
    from crawler.harvest import harvest
    from crawler.page import Page
    from crawler.url import host

    response = hops[-1]
    page = Page(msgspec.structs.replace(request, url=response.url), response)
    scope = child.make_scope(
        settings, type(spider), settings.crawl.hosts or tuple(spider.hosts) or (host(response.url),)
    )
    failure = ""
    found = None
    if not response.skipped:
        try:
            found = harvest(spider, page, scope, child.make_limits(settings))
        except SpiderError as error:
            failure = str(error)
    view = _view(hops, page, found, failure)
    if arguments.json:
        print(msgspec.json.encode(view).decode())
    else:
        print("\n".join(_lines(view, full=arguments.full)))
    return 1 if failure else 0


def _view(hops: list[Response], page: Page, found: Harvest | None, failure: str) -> dict[str, Any]:
    """All that is shown, as JSON values."""
    from crawler.charset import encoding_of

    last = hops[-1]
    encoding = encoding_of(last.body, last.charset)
    return {
        "hops": [{"url": hop.url, "status": hop.status, "seconds": round(hop.seconds, 4)} for hop in hops],
        "url": last.url,
        "status": last.status,
        "headers": [[str(name), str(value)] for name, value in last.headers.items()],
        "seconds": round(sum(hop.seconds for hop in hops), 4),
        "wire_bytes": last.wire_bytes,
        "bytes": len(last.body),
        "skipped": last.skipped,
        "charset": encoding.name,
        "charset_from": encoding.source,
        "links": [] if last.skipped else list(page.links()),
        "requests": [request.url for request in found.found] if found else [],
        "items": [
            {"kind": message.kind, "id": record.id, "data": record.fields()}
            for message in (found.messages if found else ())
            for record in message.records
        ],
        "failure": failure,
    }


def _hop(hop: Response) -> str:
    return f"{hop.status}  {seconds(hop.seconds):>7}  {printable(hop.url)}"


def _lines(view: dict[str, Any], *, full: bool) -> Iterator[str]:
    """The view for people."""
    import json

    def cut(text: str) -> str:
        return printable(text) if full else shorten(printable(text), VALUE_WIDTH)

    for hop in view["hops"]:
        yield f"{hop['status']}  {hop['seconds']:.3f} s  {printable(hop['url'])}"
    yield ""
    yield from (f"{name}: {cut(value)}" for name, value in view["headers"])
    yield ""
    if view["skipped"]:
        yield f"body      not read: {view['skipped']} (see fetch.content_types)"
        return
    yield f"body      {size(view['wire_bytes'])} on the wire, {size(view['bytes'])} decompressed"
    yield f"charset   {view['charset']} ({view['charset_from']})"
    followed = number(len(view["requests"]))
    yield f"links     {number(len(view['links']))} distinct; the spider follows {followed} in scope"
    if full:
        yield from (f"          {printable(url)}" for url in view["requests"])
    if view["failure"]:
        yield f"spider    failed: {printable(view['failure'])}"
    yield f"items     {number(len(view['items']))}"
    for item in view["items"]:
        yield f"  {printable(item['kind'])}  {item['id']}"
        for key, value in item["data"].items():
            yield f"    {printable(key)}: {cut(json.dumps(value, ensure_ascii=False))}"
