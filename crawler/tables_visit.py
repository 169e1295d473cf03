"""The tables of settings.toml about what a page holds and when it is visited again.

As in `crawler.tables`: the docstring under a field is its comment in settings.toml.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from crawler.tables import Positive, Seconds, Table, TimeoutSeconds


class ContentTable(Table, frozen=True, kw_only=True):
    """What a page is taken for."""

    sniff: Literal["off", "standard", "loose"] = "standard"
    """Whether the body's first bytes decide how a page is parsed. standard: as browsers do, so where the server names
    no type, plain text that is binary, and feeds sent as HTML; loose: also HTML and XML sent as plain text or as
    application/octet-stream. With `X-Content-Type-Options: nosniff` what the server says stands."""
    similar: Literal["off", "flag", "skip"] = "off"
    """Near-duplicates, pages of a host whose text is nearly that of another one seen by the same worker. flag: told in
    the history; skip: they give no items either. Costs up to half as much as all else for a page of 2,000 words."""
    similar_bits: Annotated[int, Meta(ge=0, le=3)] = 3
    """In so many of its 64 bits the simhash of a near-duplicate's text differs at most."""
    similar_max: Positive = 20_000
    """Pages that a worker compares with; the oldest are forgotten."""


class CacheTable(Table, frozen=True, kw_only=True):
    """Responses kept on disk for the development of spiders (crawler run --cache)."""

    enabled: bool = False
    """Whether pages come from the cache, without network or delay, and go into it."""
    path: str = ".crawler/cache"
    """The file."""
    max_age_s: Seconds = 0.0
    """Responses older than so many seconds are fetched again; 0: none."""
    bytes_max: Positive = 1_000_000_000
    """The oldest responses go when there are more bytes of bodies, compressed."""


class RevisitTable(Table, frozen=True, kw_only=True):
    """When a page that is done is visited again, as a new visit with items of its own."""

    mode: Literal["off", "interval", "adaptive", "lastmod"] = "off"
    """interval: after interval_s; adaptive: sooner when it had changed, later when not; lastmod: when a sitemap, read
    at the start of a run with --revisit, names a change after the last visit."""
    interval_s: TimeoutSeconds = 86_400.0
    """Seconds until the second visit, with interval also until each further one."""
    min_s: TimeoutSeconds = 3_600.0
    """adaptive: seconds between two visits at least."""
    max_s: TimeoutSeconds = 2_592_000.0
    """adaptive: seconds between two visits at most."""
    unchanged_items: bool = False
    """Whether a page that has not changed gives its items again; if so it is always fetched whole."""
