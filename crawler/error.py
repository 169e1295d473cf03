"""The error tree. The first level says who is to blame, and so what to do about it.

No library's exception passes its adapter: each is turned into one of these at the edge.
"""

from __future__ import annotations

import re
from typing import Literal

_USERINFO = re.compile(r"[/\\]{2}[^/\\?#]*@")
"""Where a URL has its user's name and password: never shown."""


class CrawlError(Exception):
    """Root of everything this project raises on purpose. Never raised itself."""


class BadUrl(CrawlError):
    """Whoever wrote the URL: a seed or link that is refused and counted by `reason`; nothing else happens."""

    def __init__(self, reason: Literal["not_a_url", "scheme", "credentials", "too_long"], text: str) -> None:
        shown = _USERINFO.sub("//***@", text if len(text) <= 200 else text[:199] + "…")
        super().__init__(f"{reason}: {shown!r}")
        self.reason: Literal["not_a_url", "scheme", "credentials", "too_long"] = reason


class SettingsError(CrawlError):
    """The user's: refused with exit code 2 before anything starts. Says what, where (file, key) and what to do."""


class SiteError(CrawlError):
    """The site's: `retry.judge` turns it into Retry or Bury, charged to the page or to its host."""

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        blame: Literal["page", "host"] = "page",
        final: bool = False,
        status: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        """`reason` is short and machine-readable (`http_404`, `connect`); `final`: trying again is useless."""
        detail = _encodable(detail)
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.blame: Literal["page", "host"] = blame
        self.final = final
        self.status = status
        self.retry_after_s = retry_after_s


class SpiderError(CrawlError):
    """The spider's: the page is buried with the traceback in `detail`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        detail = _encodable(detail)
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class StoreError(CrawlError):
    """The pipeline's; see its two kinds. Anything else a pipeline raises: the batch is split, then buried."""


class Reject(StoreError):
    """These messages can never be stored: bury them with this reason. `ids` empty: the whole batch."""

    def __init__(self, reason: str, ids: frozenset[str] = frozenset()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ids = ids


class Unavailable(StoreError):
    """The store is away (disk full, database down): wait and try again; nothing is charged."""


class BackendError(CrawlError):
    """The servers' (SQLite file, Redis, RabbitMQ): wait and back off; work goes on when they are back."""


class BadRecord(BackendError):
    """Stored bytes that are not a record of this version: written by something else, or damaged. Useless to repeat."""


class LeaseLost(CrawlError):
    """Nobody's: the lease ended before the work did; drop the work."""


def _encodable(text: str) -> str:
    """Header bytes that are no UTF-8, and what a page's text has, may come as lone surrogates: these cannot be written
    to any store, and are shown as their escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
