"""What a page asks of crawlers: robots directives in X-Robots-Tag headers and meta elements, and which page is the same
as it (rel=canonical). Pure.

https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag: rules for all, and rules for a product
token, add up; what is not known is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from crawler.links import LINK_RULES, LinkRules
from crawler.page import Page
from crawler.robots import token_of
from crawler.scope import Scope
from crawler.settings import Settings

HEADERS_MAX: Final = 100
DIRECTIVES_MAX: Final = 1_000
"""Read of one page at most."""

_VALUED: Final = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
_TOKEN: Final = re.compile(r"\s*([a-zA-Z_-]+)\s*:\s*(.*)", re.DOTALL)
_PAGED: Final = re.compile(r"(?:^|[?&/])(?:page|paged|p|pg|start|offset|from|seite|pagina|skip)(?:[=/_-]?)\d", re.I)
"""One of several pages of a list. Sites that give them all the first one as canonical mean no harm, and are wrong."""


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """What is honoured; see `RobotsTable` and `UrlTable`."""

    agent: str = "crawler"
    """Our product token, in lower case."""
    noindex: bool = True
    nofollow: bool = True
    canonical: Literal["follow", "report", "ignore"] = "follow"
    links: LinkRules = LINK_RULES


class Asked(msgspec.Struct, frozen=True):
    """What a page asks, as far as it is honoured."""

    noindex: bool = False
    nofollow: bool = False


_NOTHING: Final = Asked()


def manners_of(settings: Settings) -> Manners:
    """What the settings honour."""
    robots, links = settings.robots, settings.links
    return Manners(
        agent=token_of(robots.agent or settings.fetch.user_agent or "crawler"),
        noindex=robots.noindex,
        nofollow=robots.nofollow,
        canonical=settings.url.canonical,
        links=LinkRules(
            frames=links.frames,
            refresh=links.refresh,
            rels=links.rels,
            media=links.media,
            unfollowed=robots.nofollow_links,
        ),
    )


def asked(page: Page, manners: Manners, now: datetime | None = None) -> Asked:
    """What a page asks by its headers and its meta elements. Cost: 2 µs when it asks nothing."""
    if not manners.noindex and not manners.nofollow:
        return _NOTHING
    found: set[str] = set()
    headers = page.headers
    if "X-Robots-Tag" in headers:
        getall = getattr(headers, "getall", None)
        values = getall("X-Robots-Tag") if getall is not None else [headers["X-Robots-Tag"]]
        for value in values[:HEADERS_MAX]:
            found |= of_header(value, manners.agent, now)
    for name, content in page.asks():
        if name in ("robots", manners.agent):
            found |= _read(content.split(","), now)
    if not found:
        return _NOTHING
    return Asked(manners.noindex and "noindex" in found, manners.nofollow and "nofollow" in found)


def of_header(value: str, agent: str, now: datetime | None = None) -> set[str]:
    """The directives for us in one X-Robots-Tag: `noindex, nofollow`, `token: noindex`; a token counts for what follows
    it, up to the next one."""
    wanted: list[str] = []
    ours = True
    for part in value.split(",")[:DIRECTIVES_MAX]:
        named = _TOKEN.match(part)
        if named and named[1].lower() not in _VALUED:
            ours = named[1].lower() in (agent, "robots")
            part = named[2]
        if ours:
            wanted.append(part)
    return _read(wanted, now)


def _read(parts: list[str], now: datetime | None) -> set[str]:
    """`noindex` and `nofollow`, from directives in any case."""
    found: set[str] = set()
    for at, part in enumerate(parts[:DIRECTIVES_MAX]):
        word, colon, value = part.strip().lower().partition(":")
        word = word.strip()
        if word in ("noindex", "none"):
            found.add("noindex")
        if word in ("nofollow", "none"):
            found.add("nofollow")
        # A date may have a comma in it.
        if word == "unavailable_after" and colon and _is_over([value, ",".join([value, *parts[at + 1 : at + 2]])], now):
            found.add("noindex")
    return found


def _is_over(dates: Iterable[str], now: datetime | None) -> bool:
    from email.utils import parsedate_to_datetime  # the mail package, for a directive that few pages have

    for text in dates:
        for parse in (datetime.fromisoformat, parsedate_to_datetime):
            try:
                date = parse(text.strip())
            except (ValueError, IndexError, TypeError, OverflowError):
                continue
            date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
            return date < (now or datetime.now(UTC))
    return False


def same_as(page: Page, scope: Scope, from_host: str) -> str | None:
    """The canonical URL of the page that this one says to be, when that is another one in scope and to be believed:
    not the home page, and not of a list whose parts are all said to be the first."""
    url = page.canonical()
    if url is None or url == page.request.url:
        return None
    url, refusal = scope.judge(url, from_host)
    own = page.request.url
    if refusal or url == own or url == page.url:
        return None
    path, own_path = url[url.index("/", 8) :], own[own.index("/", 8) :]
    if path == "/" and own_path.partition("?")[0] != "/":
        return None
    if _PAGED.search(own_path) and not _PAGED.search(path):
        return None
    return url
