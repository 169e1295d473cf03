"""`crawler fetch`: one page as a worker would get it, with everything that was decided on the way."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from crawler.cli import fetched, option
from crawler.cli.text import printable
from crawler.error import SettingsError, SiteError, SpiderError
from crawler.response import Response, Timing

if TYPE_CHECKING:
    from crawler.fetch import Fetcher
    from crawler.harvest import Harvest
    from crawler.model import Request
    from crawler.page import Page
    from crawler.raw import Take
    from crawler.settings import Settings
    from crawler.spider import Spider

EXAMPLES = """\
  crawler fetch https://quotes.toscrape.com                         status, headers, charset, links, items
  crawler fetch https://quotes.toscrape.com --spider quotes.py:Quotes   what this spider finds there
  crawler fetch https://quotes.toscrape.com --body > page.html      just the body, as received and decompressed
  crawler fetch https://quotes.toscrape.com --to detail --spider shop.py:Shop    another method of the spider

Redirects are followed and shown. This is one request, by you: what robots.txt says of it is shown, not obeyed. The
host that you name is open to it, wherever it is; a redirect into a private network is not (guard.allow). Exit code 1
when the page fails.
"""


class Got(msgspec.Struct):
    """What came of it, hop by hop."""

    responses: list[Response] = []
    takes: list[Take] = []
    """One for each request, also for the one that failed."""
    timings: list[Timing] = []
    error: SiteError | None = None
    robots: str = ""


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
    got = asyncio.run(_get(settings, request, robots=not arguments.body))
    if got.error is not None:
        _fail(arguments, got, got.error)
        return 1
    if arguments.body:
        sys.stdout.buffer.write(got.responses[-1].body)
        return 0
    return _see(arguments, settings, spider, request, got)


async def _get(settings: Settings, request: Request, *, robots: bool) -> Got:
    """Fetch and follow redirects; then ask for the robots.txt of where it ended."""
    from crawler import app
    from crawler.fetch import Fetcher
    from crawler.httpstatus import redirected
    from crawler.url import host

    got = Got()
    guard = app.make_guard(settings, None, [host(request.url)])
    session, sniff = app.make_session(settings), settings.content.sniff
    async with Fetcher(settings.fetch, guard=guard, session=session, timings=got.timings, sniff=sniff) as fetcher:
        try:
            while True:
                response = await fetcher.fetch(request, takes=got.takes)
                got.responses.append(response)
                if response.redirect is None:
                    break
                if len(got.responses) > settings.fetch.redirects_max:
                    raise SiteError("redirects_max", f"more than {settings.fetch.redirects_max} redirects")
                request = redirected(request, response.status, response.redirect)
        except SiteError as error:
            got.error = error
        if robots and not (got.error is not None and got.error.reason == "guard"):
            got.robots = await _robots(fetcher, request.url)
    return got


async def _robots(fetcher: Fetcher, url: str) -> str:
    """What the robots.txt of its origin says of a URL, in words."""
    from crawler.model import Request
    from crawler.robots import ROBOTS_BYTES_MAX, robots_from, rules
    from crawler.url import origin
    from crawler.visit import ROBOTS_REDIRECTS_MAX

    request = Request(url=f"{origin(url)}/robots.txt")
    try:
        answer: Response | SiteError = await fetcher.fetch(
            request, follow=ROBOTS_REDIRECTS_MAX, any_type=True, keep_bytes=ROBOTS_BYTES_MAX
        )
    except SiteError as error:
        answer = error
    found = robots_from(answer)
    if isinstance(found, SiteError):
        return f"not known, so a crawl waits: {found}"
    if isinstance(answer, SiteError):
        return f"allowed: there is none ({answer.reason})"
    rule = rules(found[0]).judge(fetcher.user_agent, url)
    return f"{'allowed' if rule.allow else 'forbidden'}: {rule}"


def _fail(arguments: argparse.Namespace, got: Got, error: SiteError) -> None:
    """Show how far it came."""
    view = {**_way(got), "failure": str(error)}
    if arguments.json:
        print(msgspec.json.encode(view).decode())
    else:
        for line in fetched.head(view, full=arguments.full):
            print(line, file=sys.stderr)
    print(f"crawler: fetch: {printable(str(error))}", file=sys.stderr)


def _see(arguments: argparse.Namespace, settings: Settings, spider: Spider, request: Request, got: Got) -> int:
    """Let the spider look at the last answer, and show all of it."""
    from crawler import child
    from crawler.harvest import harvest
    from crawler.manners import manners_of
    from crawler.page import Page
    from crawler.url import host

    response = got.responses[-1]
    manners = manners_of(settings)
    page = Page(msgspec.structs.replace(request, url=response.url), response, manners.links)
    scope = child.make_scope(
        settings, type(spider), settings.crawl.hosts or tuple(spider.hosts) or (host(response.url),)
    )
    failure = ""
    found = None
    if not response.skipped:
        try:
            found = harvest(spider, page, scope, child.make_limits(settings), manners)
        except (SiteError, SpiderError) as error:
            failure = str(error)
    view = {**_way(got), **_sight(response, page, found), "failure": failure}
    if arguments.json:
        print(msgspec.json.encode(view).decode())
    else:
        print("\n".join([*fetched.head(view, full=arguments.full), *fetched.body(view, full=arguments.full)]))
    return 1 if failure else 0


def _way(got: Got) -> dict[str, Any]:
    """The requests and answers, as JSON values. The last is also of what failed."""
    answered = [number for number, take in enumerate(got.takes) if take.status]
    last = got.takes[answered[-1]] if answered else None
    timing = got.timings[answered[-1]] if answered and len(got.timings) > answered[-1] else Timing()
    total_s = last.seconds if last is not None else 0.0
    return {
        "hops": [
            {"url": take.request.url, "status": take.status, "seconds": round(take.seconds, 4), "address": take.address}
            for take in got.takes
        ],
        "url": got.takes[-1].request.url,
        "status": last.status if last is not None else 0,
        "status_line": f"HTTP/{last.version} {last.status} {last.phrase}".rstrip() if last is not None else "",
        "headers": [[name, value] for name, value in last.headers] if last is not None else [],
        "address": last.address if last is not None else "",
        "timing": {
            "dns_s": round(timing.dns_s, 4),
            "connect_s": round(timing.connect_s, 4),
            "first_byte_s": round(timing.first_byte_s, 4),
            "total_s": round(total_s, 4),
        },
        "seconds": round(sum(take.seconds for take in got.takes), 4),
        "robots": got.robots,
    }


def _sight(response: Response, page: Page, found: Harvest | None) -> dict[str, Any]:
    """What is on the page, as JSON values."""
    from crawler.charset import encoding_of

    encoding = encoding_of(response.body, response.charset)
    return {
        "wire_bytes": response.wire_bytes,
        "bytes": len(response.body),
        "skipped": response.skipped,
        "charset": encoding.name,
        "charset_from": encoding.source,
        "links": [] if response.skipped else list(page.links()),
        "requests": [request.url for request in found.found] if found else [],
        "items": [
            {"kind": message.kind, "id": record.id, "data": record.fields()}
            for message in (found.messages if found else ())
            for record in message.records
        ],
    }
