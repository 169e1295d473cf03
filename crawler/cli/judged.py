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
    deepest = crawl.depth_max or (spider.depth_max if spider else 0) or 0
    if deepest and depth is None:
        remarks.append(f"depth: at most {deepest}; not known before a page links to it")
    elif deepest and depth is not None and depth > deepest:
        refusals.append(f"depth: {depth}, at most {deepest}")
    return refusals, remarks


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
    """What the robots.txt of the URL's origin says: off, unknown, allowed or forbidden."""
    from crawler.robots import rules
    from crawler.url import origin

    if not settings.politeness.robots:
        return "off"
    for record in host.robots:
        if record.origin == origin(url):
            agent = settings.fetch.user_agent or "crawler"
            return "allowed" if rules(record.text).allowed(agent, url) else "forbidden"
    return "unknown"
