"""The decisions that all frontier adapters share, apart from any store: the store's clock, places, the end.

Those about hosts are in `crawler.frontier.host`.

Times are integers in ms of the store's clock. The rule numbers are those of `crawler.frontier`.
"""

from __future__ import annotations

import math
from enum import Enum

from crawler.model import PRIORITY_MAX, Rules
from crawler.view import Counts, Finish

RANK_BITS = 48
"""A place is the rank (0 for the highest priority) above so many bits of admission number."""


class Clock(Enum):
    """What a call tells about the store's clock."""

    SAME = "same"
    LATER = "later"
    """Time to note that somebody asked."""
    SILENCE = "silence"
    """Nobody asked for longer than half a lease, or the clock jumped forward."""
    BACK = "back"
    """The clock was set back by more than half a lease."""


def clock(asked_ms: int, now: int, lease_ms: int) -> Clock:
    """Rule 6. The note is kept to a sixteenth of a lease, so that idle workers need not write."""
    if asked_ms - now > lease_ms // 2:
        return Clock.BACK
    if now - asked_ms > lease_ms // 2:
        return Clock.SILENCE
    return Clock.LATER if stale(asked_ms, now, lease_ms) else Clock.SAME


def stale(noted_ms: int, now: int, lease_ms: int) -> bool:
    """Whether a note of the time is worth renewing."""
    return not 0 <= now - noted_ms < max(1, lease_ms // 16)


def crash_detail(crashes: int) -> str:
    """For people: why a page is buried as `crashed`."""
    return f"{crashes} workers died holding this page and nothing else: killed, out of memory, or over parse_max_s"


def backoff_s(rules: Rules, failures: int) -> float:
    """Pause after the n-th host failure in a row (rule 9)."""
    return min(rules.host_backoff_max_s, rules.host_backoff_s * 2.0 ** min(failures - 1, 60))


def ms(seconds: float) -> int:
    """Rounded up: nothing comes early."""
    return math.ceil(round(seconds * 1000, 3))


def place(order: str, priority: int, number: int) -> int:
    """Sorts the requests of a host as rule 10 says; `number` is the admission number, below 2**48."""
    rank = PRIORITY_MAX - priority
    return (rank << RANK_BITS) + (number if order == "fifo" else -number)


def finish(counts: Counts, rules: Rules) -> Finish:
    """Whether the crawl is over."""
    pending = counts.ready + counts.delayed - counts.revisits + counts.leased + counts.suspects
    if not pending and not counts.producers_open:
        if counts.producers_lost:
            return Finish.INCOMPLETE
        if counts.producers_closed:
            return Finish.FINISHED
    limit = 0 < rules.pages_max <= counts.pages or 0 < rules.bytes_max <= counts.bytes
    return Finish.LIMIT if limit and not counts.leased else Finish.RUNNING


def next_due_s(now: int, *times: int | None) -> float | None:
    """The earliest of them as seconds from now."""
    known = [time for time in times if time is not None]
    return max(0, min(known) - now) / 1000 if known else None


def parse_token(token: str) -> tuple[str, int]:
    """`request_id:serial`; serial -1 when it cannot be a lease's."""
    head, _, tail = token.rpartition(":")
    return (head, int(tail)) if tail.isascii() and tail.isdigit() and len(tail) < 19 else (token, -1)
