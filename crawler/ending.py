"""How a visit ends: its outcome with what goes to stores and history, and the page's next visit."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time_ns
from typing import Final, Literal

from crawler.commit import Ended
from crawler.harvest import Harvest
from crawler.model import Before, Bury, Done, Lease, Outcome, Request, Retry
from crawler.response import Response
from crawler.revisit import next_visit, with_validators
from crawler.settings import Settings
from crawler.url import fingerprint
from crawler.view import LogEntry
from crawler.weigh import Weighed

KINDS: dict[type[Outcome], Literal["done", "retry", "bury"]] = {Done: "done", Retry: "retry", Bury: "bury"}

_NO_BEFORE: Final = Before()
_NO_HARVEST: Final = Harvest()


class Endings:
    """One worker's."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self._revisit = settings.revisit
        self._revisits = settings.revisit.mode != "off"
        self._history = settings.exchange.history
        self._worker = worker

    def ended(
        self,
        lease: Lease,
        outcome: Outcome,
        response: Response | None = None,
        *,
        weighed: Weighed | None = None,
        found: tuple[Request, ...] = (),
        status: int = 0,
        detail: str = "",
        now: Before | None = None,
    ) -> Ended:
        """`weighed`: of a page that was parsed; else `found`, `detail` and `now`, what is known of the page by this
        visit (None: nothing new). `status`: when there is no response."""
        request, changed, harvested = lease.request, False, _NO_HARVEST
        if weighed is not None:
            now, changed, harvested = weighed.now, weighed.changed, weighed.found
            found = harvested.found
            detail = f"canonical: {harvested.same_as}" if harvested.same_as else ""
        now = now or request.before or _NO_BEFORE
        if response is not None:
            now = with_validators(now, response.headers, response.status)
        links = len(found)
        if self._revisits and isinstance(outcome, Done):
            at_ms = time_ns() // 1_000_000
            again = next_visit(self._revisit, request, outcome.reason, now, changed=changed, now_ms=at_ms)
            found = (*found, again) if again is not None else found
        entry = None
        if self._history:
            entry = LogEntry(
                fingerprint=fingerprint(request),
                outcome=KINDS[type(outcome)],
                reason=outcome.reason,
                detail=getattr(outcome, "detail", detail),
                status=response.status if response else status,
                seconds=round(response.seconds, 6) if response else 0.0,
                bytes=response.wire_bytes if response else 0,
                items=harvested.items,
                links=links,
                attempt=lease.attempts + 1,
                depth=request.depth,
                worker=self._worker,
                method=request.to,
                etag=now.etag,
                modified=now.modified,
                body=now.body,
                items_hash=now.items,
                simhash=weighed.simhash if weighed else 0,
                near=weighed.near if weighed else "",
            )
        return Ended(
            lease=lease,
            outcome=outcome,
            messages=harvested.messages,
            found=found,
            entry=entry,
            ended_at=response.fetched_at if response else datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
