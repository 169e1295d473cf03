"""What a snapshot says, in numbers and in one line. Pure, but for the clock that `line` reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crawler.cli.text import number, plural, rate, seconds

if TYPE_CHECKING:
    from crawler.report import Snapshot
    from crawler.view import WorkerRow

GONE_S = 60.0
"""A worker that holds nothing and was not heard of for so long is not shown."""

WINDOW_S = 10.0
"""Rates are means over so long."""


class Speed:
    """A counter's rate over the last `WINDOW_S`."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> None:
        self._notes.append((now_s, count))
        while len(self._notes) > 2 and self._notes[1][0] <= now_s - self._window_s:
            self._notes.popleft()

    def known(self) -> bool:
        """Whether there were two notes to compare."""
        return len(self._notes) > 1

    def per_second(self) -> float:
        if len(self._notes) < 2:
            return 0.0
        (start_s, start), (end_s, end) = self._notes[0], self._notes[-1]
        return max(0, end - start) / (end_s - start_s) if end_s > start_s else 0.0


def line(snapshot: Snapshot, per_second: float) -> str:
    """A snapshot as one line."""
    counts = snapshot.counts
    parts = [
        f"{seconds(snapshot.seconds)} {snapshot.state}: {plural(counts.pages, 'page')} ({rate(per_second)}/s)",
        f"ready {number(counts.ready)}",
        f"leased {number(counts.leased)}",
        f"delayed {number(counts.delayed)}",
        f"dead {number(counts.dead)}",
        f"to store {number(unstored(snapshot))}",
        f"workers {len(present(snapshot.workers, time.time() * 1000))}",
    ]
    if counts.suspects:
        parts.append(f"suspects {number(counts.suspects)}")
    if snapshot.restarts:
        parts.append(f"restarts {number(snapshot.restarts)}")
    troubles = ", ".join(f"{name} {number(times)}" for name, times in errors(counts.reasons))
    return ", ".join(parts) + (f"; errors: {troubles}" if troubles else "")


def present(workers: Sequence[WorkerRow], now_ms: float) -> list[WorkerRow]:
    """Workers that hold something or were heard of in the last `GONE_S`; the rest are ended or dead incarnations."""
    return [worker for worker in workers if worker.leased or now_ms - worker.seen_ms < GONE_S * 1000]


def unstored(snapshot: Snapshot) -> int:
    """Messages that some pipeline has yet to store."""
    return sum(q.ready + q.delayed + q.leased + q.suspects for q in snapshot.queues.values())


def errors(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Failures by kind, most frequent first: how often a page was tried again or buried for it."""
    found: dict[str, int] = {}
    for reason, times in reasons.items():
        kind, _, name = reason.partition(":")
        if kind in ("retry", "bury") and times:
            found[name] = found.get(name, 0) + times
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
