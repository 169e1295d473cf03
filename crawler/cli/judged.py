"""Whether a URL may be crawled: by the crawl's scope, rule by rule, and by robots.txt as far as the frontier has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.cli.text import number
from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.model import CrawlRecord
    from crawler.settings import Settings
    from crawler.spider import Spider
    from crawler.view import Host


def scope(settings: Settings, record: CrawlRecord, url: str, *, depth: int | None) -> tuple[list[str], list[str]]:
    """The rules that refuse a link to this URL, and what could not be judged. Settings win over what the crawl's record
    and spider say. Seeds are admitted whatever the scope."""
    from crawler.scope import Scope
    from crawler.url import host

    spider, remarks = _spider(settings, record)
    crawl, name = settings.crawl, host(url)
    refusals = []
    hosts = crawl.hosts or record.hosts or (tuple(sorted(spider.hosts)) if spider else ())
    if hosts and Scope(hosts=hosts).judge(url, name)[1]:
        refusals.append(f"host: {name} is none of {', '.join(hosts)}")
    elif not hosts:
        remarks.append("hosts: links from pages of other hosts are refused")
    for pattern in crawl.exclude or (spider.exclude if spider else ()):
        if Scope(exclude=[pattern]).judge(url, name)[1]:
            refusals.append(f"exclude: {pattern}")
    include = crawl.include or (spider.include if spider else ())
    if include and Scope(include=include).judge(url, name)[1]:
        refusals.append(f"include: matches none of {', '.join(include)}")
    longest = settings.worker.url_chars_max
    if len(url) > longest:
        refusals.append(f"worker.url_chars_max: {number(len(url))} characters, at most {number(longest)}")
    for key, count in (
        ("path_segments_max", url.partition("?")[0].count("/") - 2),
        ("query_params_max", url.partition("?")[2].count("&") + ("?" in url)),
    ):
        if 0 < (most := getattr(settings.url, key)) < count:
            refusals.append(f"url.{key}: {number(count)}, at most {number(most)}")
    deepest = crawl.depth_max or (spider.depth_max if spider else 0) or 0
    if deepest and depth is None:
        remarks.append(f"depth: at most {deepest}; not known before a page links to it")
    elif deepest and depth is not None and depth > deepest:
        refusals.append(f"depth: {depth}, at most {deepest}")
    return refusals, remarks


def trap(settings: Settings, url: str) -> str:
    """What of a URL can make it a trap: repeats, or the shape whose budget a worker may have seen spent; else empty.
    Budgets themselves are known to workers alone: what they refused is told by its dead letter."""
    from datetime import UTC, datetime

    from crawler.trap import Traps

    if not settings.traps.enabled:
        return ""
    sight = Traps(settings.traps, datetime.now(UTC).year).judge(url, depth=1)
    if sight.refusal:
        return f"refused: {sight.refusal}"
    if sight.shape is None or sight.shape.kind == "plain":
        return ""
    return f"none by itself; as a {sight.shape.kind} it shares the budget of {sight.shape.key}"


def guard(settings: Settings, record: CrawlRecord, url: str) -> str:
    """Why the guard would refuse this URL, as far as that can be told without looking a name up; else empty."""
    from crawler import app
    from crawler.error import SiteError

    try:
        app.make_guard(settings, _spider(settings, record)[0], record.named).check(url)
    except SiteError as error:
        return error.detail
    return ""


def _spider(settings: Settings, record: CrawlRecord) -> tuple[type[Spider] | None, list[str]]:
    """The crawl's own, unless the settings name another than the default."""
    from crawler import plugin
    from crawler.spider import Spider
    from crawler.tables import CrawlTable

    named = settings.crawl.spider
    if named == CrawlTable().spider and record.spider:
        named = record.spider
    try:
        return plugin.load(named, Spider), []
    except SettingsError as error:
        return None, [f"spider: its rules are not known: {error}"]


def robots(settings: Settings, host: Host, url: str) -> str:
    """What the robots.txt of the URL's origin says: off, unknown, allowed or forbidden, and by which line."""
    from crawler.robots import rules
    from crawler.url import origin

    if not settings.politeness.robots:
        return "off"
    for record in host.robots:
        if record.origin == origin(url):
            agent = settings.robots.agent or settings.fetch.user_agent or "crawler"
            rule = rules(record.text).judge(agent, url)
            return f"{'allowed' if rule.allow else 'forbidden'}{f' by {rule}' if rule.line else ''}"
    return "unknown"
