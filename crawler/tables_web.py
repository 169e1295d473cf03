"""The tables of settings.toml about what the web says of itself: URLs, robots, links, traps, sitemaps.

As in `crawler.tables`: the docstring under a field is its comment in settings.toml.
"""

from __future__ import annotations

from typing import Literal

from crawler.tables import Count, Positive, Seconds, Table


class UrlTable(Table, frozen=True, kw_only=True):
    """Which URLs are one page. The first five are part of a crawl's identity and stay as they were when it began."""

    sort_query: bool = False
    """Whether the order of the query's parameters does not count."""
    drop_tracking: bool = False
    """Whether the parameters named in tracking do not count, and are not sent."""
    tracking: tuple[str, ...] = (
        *("utm_*", "gclid", "gclsrc", "dclid", "wbraid", "gbraid", "fbclid", "msclkid", "yclid", "twclid", "ttclid"),
        *("mc_cid", "mc_eid", "igshid", "_ga", "_gl", "_hsenc", "_hsmi", "vero_id", "wickedid", "oly_anon_id"),
        *("oly_enc_id", "mkt_tok", "srsltid"),
    )
    """Names of parameters, in lower case, with * at the end for any continuation."""
    lower_path: bool = False
    """Whether capitals in paths do not count."""
    default_index: tuple[str, ...] = ()
    """Files that stand for their directory, as index.html; empty: none."""
    trailing_slash: bool = False
    """Whether a slash at the end of a path does not count."""
    canonical: Literal["follow", "report", "ignore"] = "follow"
    """What rel=canonical does when it names another page in scope. follow: both are one page, whose items are stored
    once; report: the page is only told so in the history; both find it as a link. ignore: nothing."""
    path_segments_max: Count = 64
    """URLs with more path segments are not followed as links; 0: no limit."""
    query_params_max: Count = 64
    """URLs with more parameters are not followed as links; 0: no limit."""


class RobotsTable(Table, frozen=True, kw_only=True):
    """What pages and servers ask of crawlers, beside robots.txt itself (politeness.robots)."""

    agent: str = ""
    """The product token whose rules count; empty: that of fetch.user_agent."""
    noindex: bool = True
    """Whether `noindex` in <meta name=robots> or X-Robots-Tag is honoured: no items from such a page."""
    nofollow: bool = True
    """Whether `nofollow` there is honoured: no links from such a page."""
    nofollow_links: tuple[str, ...] = ("nofollow", "ugc", "sponsored")
    """Links with one of these as rel are not followed, unless the page has the same link without; empty: all are."""
    delay_max_s: Seconds = 60.0
    """A Crawl-delay in robots.txt that is longer is cut to so many seconds; 0: it is not honoured at all."""


class LinksTable(Table, frozen=True, kw_only=True):
    """Which elements of a page are links, beside a and area."""

    frames: bool = True
    """frame and iframe."""
    refresh: bool = True
    """<meta http-equiv=refresh>."""
    rels: tuple[str, ...] = ("next", "prev")
    """<link> with one of these as rel: next, prev, alternate, ...; empty: none."""
    media: bool = False
    """img, source, video, audio, track, embed and object, with src, srcset, poster and data."""


class TrapsTable(Table, frozen=True, kw_only=True):
    """Endless sites: what is refused is buried as `trap` (see `crawler dead ls --reason trap`) and can be brought back.
    Each worker counts for itself: N workers let through N times as much."""

    enabled: bool = True
    """Whether traps are looked for."""
    allow: tuple[str, ...] = ()
    """Regular expressions searched in path and query: such URLs are never taken for a trap."""
    repeats_max: Positive = 3
    """Path segments that stand more often in a row (/a/b/a/b/a/b/a/b) are a trap."""
    budget_max: Positive = 1_000
    """URLs of one shape (/item/{n}) are a trap once so many more of them brought nothing new than did."""
    calendar_budget_max: Positive = 30
    """The same where the URL has the shape of a calendar, with names of months and digits not counting as new."""
    session_budget_max: Positive = 3
    """The same for one page under session ids."""
    shapes_max: Positive = 100_000
    """Shapes and sessions that a worker keeps in mind; the oldest are forgotten."""


class SitemapsTable(Table, frozen=True, kw_only=True):
    """Sitemaps and feeds as lists of seeds."""

    depth_max: Count = 3
    """Indexes within indexes; the standard allows none."""
    files_max: Positive = 50_000
    """Sitemaps read for one source at most."""
    urls_max: Count = 0
    """URLs taken from one source at most; 0: no limit."""
    bytes_max: Positive = 52_428_800
    """Larger sitemaps are read so far, in bytes after decompression: the standard's 50 MB."""
    other_hosts: bool = True
    """Whether URLs of other hosts than the sitemap's are taken, as far as they are in scope; the standard has them
    only where the other host's robots.txt names the sitemap."""
