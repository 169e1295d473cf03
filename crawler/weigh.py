"""What a page is worth once it was fetched: the same as at its last visit, nearly the same as another one, or news."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from crawler.harvest import Harvest
from crawler.model import Before, Request
from crawler.page import Page
from crawler.revisit import UNCHANGED, body_hash, items_hash
from crawler.simhash import Similar, simhash
from crawler.tables_visit import ContentTable, RevisitTable

SIMILAR: Final = "similar"
"""Reason of a page whose items were left out because another one has nearly the same text."""

_NOTHING: Final = Before()


class Weighed(NamedTuple):
    """What becomes of a page."""

    found: Harvest
    reason: str
    """Of its Done."""
    now: Before
    """What its next visit must know."""
    changed: bool
    """Not known to be as at the last visit."""
    simhash: int = 0
    near: str = ""
    """URL of a page that it nearly repeats."""


class Scales:
    """One worker's; it remembers the pages that it saw. Not thread-safe."""

    def __init__(self, content: ContentTable, revisit: RevisitTable) -> None:
        self._revisit = revisit
        self._hashes = revisit.mode != "off"
        self._skips = content.similar == "skip"
        self._similar: Similar | None = None
        if content.similar != "off":
            self._similar = Similar(bits=content.similar_bits, pages_max=content.similar_max)

    def fetched(self, request: Request, body: bytes) -> tuple[Before, bool]:
        """What is known of a page by its body, and whether it is to be left at that, because it is as before. Cost:
        1 µs a KB when pages are revisited, else nothing."""
        if not self._hashes:
            return _NOTHING, False
        before, hash_ = request.before, body_hash(body)
        if before is None or before.body != hash_:
            return Before(body=hash_), False
        return before, not self._revisit.unchanged_items

    def weigh(self, request: Request, page: Page, found: Harvest, now: Before, host: str) -> Weighed:
        """After it was parsed. `now`: from `fetched`. Items go only to who may and wants to have them."""
        changed = True
        if self._hashes:
            before = request.before or _NOTHING
            items = items_hash(found.messages)
            changed = now.body != before.body and items != before.items
            now = msgspec.structs.replace(now, items=items)
        hash_, near = self._likeness(page, host)
        reason = "noindex" if found.noindex else ""
        if not reason and near and self._skips:
            reason = SIMILAR
        elif not reason and not changed and not self._revisit.unchanged_items:
            reason = UNCHANGED
        if reason in (SIMILAR, UNCHANGED):
            found = msgspec.structs.replace(found, messages=(), items=0)
        return Weighed(found, reason, now, changed, hash_, near)

    def _likeness(self, page: Page, host: str) -> tuple[int, str]:
        if self._similar is None or not (hash_ := simhash(page.words())):
            return 0, ""
        return hash_, self._similar.near(host, hash_, page.url)
