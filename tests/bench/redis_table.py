"""The README's table of what the Redis frontier costs."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.bench.contestants import versions
from tests.bench.redis_probe import Cost
from tests.bench.table import machine

PACKAGES = ("redis", "scrapy", "scrapy-redis")


LONG_US = 5_000
"""No script should take longer: everybody waits for it."""

TIMES = 1.3
"""Of its payload: what a pending URL may take before the rest is put down to its host."""


@dataclass(frozen=True)
class Memory:
    """used_memory of a server that has nothing, then all URLs pending, then all purged and only seen."""

    hosts: int
    urls: int
    payload: float
    """Mean bytes of a request as it is stored."""
    empty_bytes: int
    full_bytes: int
    purged_bytes: int

    @property
    def seen_bytes(self) -> float:
        """Of each URL seen; with many hosts, what is kept of them is in it."""
        return (self.purged_bytes - self.empty_bytes) / self.urls

    @property
    def pending_bytes(self) -> float:
        """Of each URL pending, without its place among the seen."""
        return (self.full_bytes - self.purged_bytes) / self.urls

    def host_bytes(self, one: Memory, pending_bytes: float) -> float:
        """Of each host: all beyond `pending_bytes` a URL and what it takes among the seen on a single host, `one`."""
        beyond = self.full_bytes - self.empty_bytes - self.urls * (one.seen_bytes + pending_bytes)
        return beyond / self.hosts

    def __str__(self) -> str:
        return (
            f"  {self.urls:,} on {self.hosts:,} hosts: seen {self.seen_bytes:.2f} bytes each, "
            f"pending {self.pending_bytes:.1f}, payload {self.payload:.1f} ({self.pending_bytes / self.payload:.2f})"
        )


@dataclass(frozen=True)
class Rival:
    costs: Sequence[Cost]
    seen: int
    seen_bytes: float
    pending_bytes: dict[str, float]

    def __str__(self) -> str:
        pending = ", ".join(f"{name} {each:.0f}" for name, each in self.pending_bytes.items())
        return f"  {self.seen:,} seen: {self.seen_bytes:.1f} bytes each; pending: {pending} bytes each"


class Result(NamedTuple):
    """Of one case."""

    costs: Sequence[Cost]
    memory: Memory | None
    slow: dict[str, list[int]]
    """Microseconds of each script's slow runs."""


def render(results: Sequence[Result], rival: Rival, caption: str) -> str:
    """Two tables and what was measured, as Markdown."""
    costs = {
        (cost.name, cost.batch, cost.hosts, cost.pending): cost for result in reversed(results) for cost in result.costs
    }
    memories = [result.memory for result in results if result.memory is not None]
    ordered = [cost for _, cost in sorted(costs.items())]
    told = longest(result.slow for result in results) or "under 1 ms"
    text = f"{_slope(memories)}The longest run of each script: {told}. {caption}"
    return "\n".join([*_costs(ordered, rival), "", *_memories(memories, rival), "", text])


def _costs(costs: Sequence[Cost], rival: Rival) -> list[str]:
    lines = [
        "| one client process | batch | pending | hosts | per second | client µs | server µs | trips | commands |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    named = [(cost.name, cost) for cost in costs] + [(f"scrapy-redis: `{cost.name}`", cost) for cost in rival.costs]
    for name, cost in named:
        lines.append(
            f"| {name} | {cost.batch} | {cost.pending:,} | {cost.hosts:,} | {cost.rate:,.0f} "
            f"| {cost.each_us(cost.client_s):.1f} | {cost.each_us(cost.server_s):.1f} "
            f"| {cost.trips / cost.units:.3f} | {cost.commands / cost.units:.2f} |"
        )
    return lines


def _memories(memories: Sequence[Memory], rival: Rival) -> list[str]:
    lines = [
        "| bytes of Redis memory | URLs | hosts | per seen URL | per pending URL | of its payload | per host "
        f"| per host beyond {TIMES} payloads a URL |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    alone = {memory.urls: memory for memory in memories if memory.hosts == 1}
    for memory in sorted(memories, key=lambda memory: (memory.urls, memory.hosts)):
        one = alone.get(memory.urls)
        row = f"| this project | {memory.urls:,} | {memory.hosts:,} "
        if one is None or memory is one:
            times = memory.pending_bytes / memory.payload
            row += f"| {memory.seen_bytes:.2f} | {memory.pending_bytes:.1f} | {times:.2f} \N{MULTIPLICATION SIGN} | | |"
        else:
            each = memory.host_bytes(one, one.pending_bytes), memory.host_bytes(one, TIMES * memory.payload)
            row += f"| | | | {each[0]:,.0f} | {each[1]:,.0f} |"
        lines.append(row)
    for name, each_bytes in rival.pending_bytes.items():
        lines.append(f"| scrapy-redis, {name} | {rival.seen:,} | | {rival.seen_bytes:.1f} | {each_bytes:.0f} | | | |")
    return lines


def _slope(memories: Sequence[Memory]) -> str:
    """What one more URL takes between the smallest and the largest crawl of one host."""
    alone = sorted((memory for memory in memories if memory.hosts == 1), key=lambda memory: memory.urls)
    if len(alone) < 2:
        return ""
    small, large = alone[0], alone[-1]
    each = (large.purged_bytes - small.purged_bytes) / (large.urls - small.urls)
    return f"From {small.urls:,} to {large.urls:,} URLs each one more seen takes {each:.2f} bytes. "


def longest(slow: Iterable[dict[str, list[int]]]) -> str:
    """The longest run of each script, and how many took more than `LONG_US`."""
    runs: dict[str, list[int]] = {}
    for one in slow:
        for name, durations in one.items():
            runs.setdefault(name, []).extend(durations)
    ordered = sorted(runs.items(), key=lambda one: -max(one[1]))
    return ", ".join(
        f"{name} {max(durations) / 1000:.1f} ms ({sum(us > LONG_US for us in durations)} times above "
        f"{LONG_US // 1000} ms)"
        for name, durations in ordered
    )


def caption(rivals: Path) -> str:
    """When and on what."""
    known = ", ".join(f"{name} {version}" for name, version in sorted(versions(rivals, PACKAGES).items()))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"Measured by `python -m tests.bench.redis` on {date}, one shard, one client process with "
        "two calls at a time, appendfsync everysec. "
        "µs are CPU time per request; *commands* are those the scripts give and the scripts themselves. While pages "
        "are taken as many are put in their place. Memory is `used_memory` without what an empty server has; per host "
        f"is all beyond what the same number of URLs takes on one host. {machine()}; Python "
        f"{platform.python_version()}, {known}."
    )
