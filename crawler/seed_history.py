"""Visits that the history asks for: pages that were done before anybody thought of revisiting, and pages of which a
sitemap says that they have changed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from crawler.error import BadUrl
from crawler.frontier import Frontier
from crawler.model import Before, Request
from crawler.revisit import next_visit
from crawler.seed_sitemap import LASTMOD
from crawler.tables_visit import RevisitTable
from crawler.url import canonical, fingerprint
from pipelines.history import Event, entries, latest

BATCH: Final = 500


def schedule(frontier: Frontier, path: str | Path, table: RevisitTable) -> int:
    """Add the next visit of every page that the history has as done, when it is due; returns how many were not in the
    frontier yet. The requests are plain: of what a spider gave along only the method to call is known. Safe to repeat.

    Raises BackendError, SettingsError. Cost: 15 µs a page."""
    new = 0
    for events in _batches(path):
        found = [request for event in events if (request := _next(event, table)) is not None]
        if found:
            new += frontier.add(found).new
    return new


def changed_since(path: str | Path, requests: Sequence[Request]) -> list[Request]:
    """The next visits of those that name a last change (`meta["lastmod"]`) after their last visit. A time that
    cannot be read, and a page without a visit, give none. Raises SettingsError. Cost: a look-up, 50 µs, for each that
    names a change."""
    found = []
    for request in requests:
        changed_ms = time_ms(request.meta.get(LASTMOD))
        if changed_ms is None:
            continue
        done = [event for event in entries(path, fingerprint=fingerprint(request), limit=5) if _is_done(event)]
        if done and changed_ms > (time_ms(done[-1].at) or 0):
            found.append(_request(done[-1], request))
    return found


def time_ms(text: object) -> int | None:
    """A time as sitemaps have it (W3C Datetime: a day, or a time with its zone; without one UTC), and as feeds do
    (RFC 5322); None for what is none. A day is its end, so that a change on the day of a visit is not missed."""
    if not isinstance(text, str) or not 4 <= len(text) <= 64:
        return None
    text = text.strip()
    try:
        time = datetime.fromisoformat(text)
        if len(text) == 10:
            time = time.replace(hour=23, minute=59, second=59)
    except ValueError:
        from email.utils import parsedate_to_datetime  # the mail package, for feeds

        try:
            time = parsedate_to_datetime(text)
        except ValueError:
            return None
    try:
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (OverflowError, OSError, ValueError):
        return None


def _batches(path: str | Path) -> Iterator[Sequence[Event]]:
    after: int | None = None
    while events := latest(path, after=after, limit=BATCH):
        yield events
        after = events[-1].entry.fingerprint


def _is_done(event: Event) -> bool:
    return event.entry.outcome == "done"


def _next(event: Event, table: RevisitTable) -> Request | None:
    try:
        if not _is_done(event) or fingerprint(Request(url=canonical(event.url))) != event.entry.fingerprint:
            return None  # it failed, or was no plain GET
    except BadUrl:
        return None
    request = Request(url=event.url, to=event.entry.method, depth=event.entry.depth, visit=event.visit)
    done_ms = time_ms(event.at) or 0
    return next_visit(table, request, event.entry.reason, _before(event), changed=True, now_ms=done_ms)


def _request(event: Event, request: Request) -> Request:
    return Request(
        url=request.url,
        to=event.entry.method,
        depth=event.entry.depth,
        visit=event.visit + 1,
        before=_before(event),
        meta=request.meta,
    )


def _before(event: Event) -> Before:
    entry = event.entry
    return Before(etag=entry.etag, modified=entry.modified, body=entry.body, items=entry.items_hash)
