"""The README's tables of how well many hosts are kept busy."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.table import machine
from tests.sites.stamp import Stamp

SLACK_S = 0.1
"""What a worker may take between two requests of a host, beyond the delay and the fetch."""


@dataclass(frozen=True)
class Starts:
    """Seconds until hosts got their first request: from being added, from the end of their pause."""

    added: Sequence[float]
    freed: Sequence[float]


@dataclass(frozen=True)
class Polite:
    """A crawl with a delay."""

    hosts: int
    workers: int
    delay_s: float
    fetch_s: float
    """Mean, as the hosts saw it."""
    rate: float
    """Requests a second, from the instant when each host had its first until one had its last."""
    gaps: Sequence[float]
    """Seconds from each response to the next request of its host."""
    busy: Starts
    """While all hosts are busy."""
    idle: Starts
    """When nothing else is left to do."""
    each: float
    """Round trips to Redis for a request, all processes together."""
    asked: float
    """Round trips to Redis a second of an idle worker."""

    @property
    def possible(self) -> float:
        return self.hosts / (self.delay_s + self.fetch_s + SLACK_S)


@dataclass(frozen=True)
class Trips:
    """A crawl without a delay."""

    hosts: int
    pages: int
    per_host: int
    workers: int
    wall_s: float
    trips: int
    """Round trips to Redis of all processes, from its start to its end."""

    @property
    def each(self) -> float:
        return self.trips / self.pages


def steady_rate(stamps: Sequence[Stamp]) -> float:
    """Requests a second, from the instant when each host had its first until one had its last."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for stamp in stamps:
        first[stamp.address] = min(first.get(stamp.address, stamp.came), stamp.came)
        last[stamp.address] = max(last.get(stamp.address, stamp.came), stamp.came)
    begin, end = max(first.values()), min(last.values())
    if end <= begin:
        raise ValueError("some host had its last request before another had its first: more pages")
    return sum(begin < stamp.came <= end for stamp in stamps) / (end - begin)


def render(polite: Polite | None, trips: Sequence[Trips]) -> str:
    """The tables and what was measured, as Markdown."""
    parts = [*(_polite(polite) if polite else ()), *(["", *_trips(trips)] if trips else ())]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return "\n".join([*parts, "", f"Measured by `python -m tests.bench.redis_hosts` on {date}. {machine()}."])


def _polite(found: Polite) -> list[str]:
    gaps = sorted(found.gaps)
    rows = [
        (
            f"requests a second; {found.hosts} hosts / (delay + fetch + {SLACK_S} s) would be {found.possible:.0f}",
            f"{found.rate:.0f} ({found.rate / found.possible:.0%})",
        ),
        (
            "from a response to the next request of its host: shortest, median, longest",
            " · ".join(f"{gap * 1000:,.0f} ms" for gap in (gaps[0], median(gaps), gaps[-1])),
        ),
    ]
    for when, starts in (("while all are busy", found.busy), ("when nothing else is left", found.idle)):
        for what, seconds in (("added", starts.added), ("freed from a pause", starts.freed)):
            shown = " · ".join(f"{one * 1000:.0f} ms" for one in (median(seconds), max(seconds)))
            rows.append((f"a host {what} {when} is asked after: median, longest of {len(seconds)}", shown))
    rows.append(("round trips to Redis for a request, all processes together", f"{found.each:.2f}"))
    rows.append(("round trips to Redis of an idle worker", f"{found.asked:.1f} a second"))
    title = f"{found.hosts} hosts, {found.workers} workers, delay {found.delay_s:g} s, fetch {found.fetch_s:.3f} s"
    return [f"| {title} | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)]


def _trips(trips: Sequence[Trips]) -> list[str]:
    lines = [
        "| no delay | workers | hosts | pages | pages a second | round trips a page |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in trips:
        cap = f"`per_host = {one.per_host}`" + ("" if one.per_host else " (no cap)")
        rate = one.pages / one.wall_s
        lines.append(f"| {cap} | {one.workers} | {one.hosts:,} | {one.pages:,} | {rate:,.0f} | {one.each:.3f} |")
    return lines
