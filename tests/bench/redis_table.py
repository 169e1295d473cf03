"""The README's table of what the Redis frontier costs."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.contestants import versions
from tests.bench.redis_probe import SLOW_US, Cost
from tests.bench.table import machine

PACKAGES = ("redis", "scrapy", "scrapy-redis")


@dataclass(frozen=True)
class Memory:
    """used_memory of a server at four instants: nothing; all added; then some taken and others in their place;
    everything purged but what was seen."""

    hosts: int
    pending: int
    seen: int
    """At the last two instants."""
    payload: float
    """Mean bytes of a request as it is stored."""
    empty_bytes: int
    full_bytes: int
    before_bytes: int
    after_bytes: int

    @property
    def seen_bytes(self) -> float:
        """Of each URL seen; with many hosts, what is kept of them is in it."""
        return (self.after_bytes - self.empty_bytes) / self.seen

    @property
    def pending_bytes(self) -> float:
        """Of each URL pending, without its place among the seen."""
        return (self.before_bytes - self.after_bytes) / self.pending

    def host_bytes(self, one: Memory) -> float:
        """Of each host, where `one` says what a URL takes on a single host: all that is beyond that."""
        urls = self.seen * one.seen_bytes + self.pending * one.pending_bytes
        return (self.before_bytes - self.empty_bytes - urls) / self.hosts

    def host_bytes_beyond(self, times: float, one: Memory) -> float:
        """Of each host, when a pending URL may take `times` its payload."""
        urls = self.seen * one.seen_bytes + self.pending * times * self.payload
        return (self.before_bytes - self.empty_bytes - urls) / self.hosts

    def __str__(self) -> str:
        return (
            f"  {self.seen:,} seen: {self.seen_bytes:.2f} bytes each; {self.pending:,} pending on {self.hosts:,} hosts: "
            f"{self.pending_bytes:.1f} bytes each, payload {self.payload:.1f}, "
            f"{self.pending_bytes / self.payload:.2f} times"
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


Result = tuple[Sequence[Cost], Memory, dict[str, int]]


def render(results: Sequence[Result], rival: Rival, caption: str) -> str:
    """Two tables and what was measured, as Markdown."""
    costs = [cost for found, *_ in results for cost in found]
    memories = [memory for _, memory, _ in results]
    parts = [
        *_costs(costs, rival),
        "",
        *_memories(memories, rival),
        "",
        f"{_slope(memories)}{_longest(results)}",
        caption,
    ]
    return "\n".join(parts)


def _costs(costs: Sequence[Cost], rival: Rival) -> list[str]:
    lines = [
        "| one client process | batch | pending | hosts | per second | client µs | server µs | trips | commands |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    ordered = sorted(costs, key=lambda cost: (cost.name, cost.batch, cost.hosts, cost.pending))
    named = [(cost.name, cost) for cost in ordered] + [(f"scrapy-redis: `{cost.name}`", cost) for cost in rival.costs]
    for name, cost in named:
        lines.append(
            f"| {name} | {cost.batch} | {cost.pending:,} | {cost.hosts:,} | {cost.rate:,.0f} "
            f"| {cost.each_us(cost.client_s):.1f} | {cost.each_us(cost.server_s):.1f} "
            f"| {cost.trips / cost.units:.3f} | {cost.commands / cost.units:.2f} |"
        )
    return lines


def _memories(memories: Sequence[Memory], rival: Rival) -> list[str]:
    lines = [
        "| memory of Redis | seen | pending | hosts | bytes per seen URL | per pending URL | × payload | per host |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for memory in sorted(memories, key=lambda memory: (memory.hosts, memory.pending)):
        one = _alone(memories, memory)
        host = f"{memory.host_bytes(one):,.0f}" if one is not None and memory.hosts > 1 else ""
        first = "| this project | {:,} | {:,} | {:,} ".format(memory.seen, memory.pending, memory.hosts)
        # What is kept of hosts is not memory of the URLs.
        shown = memory if one is None else one
        lines.append(
            f"{first}| {shown.seen_bytes:.1f} | {shown.pending_bytes:.0f} "
            f"| {shown.pending_bytes / shown.payload:.2f} | {host} |"
        )
    for name, each in rival.pending_bytes.items():
        lines.append(f"| scrapy-redis, {name} | {rival.seen:,} | | | {rival.seen_bytes:.1f} | {each:.0f} | | |")
    return lines


def _alone(memories: Sequence[Memory], memory: Memory) -> Memory | None:
    """The case of as many URLs on one host."""
    return next((other for other in memories if other.hosts == 1 and other.pending == memory.pending), None)


def _slope(memories: Sequence[Memory]) -> str:
    """What one more URL takes between the smallest and the largest crawl of one host."""
    alone = sorted((memory for memory in memories if memory.hosts == 1), key=lambda memory: memory.seen)
    if len(alone) < 2:
        return ""
    small, large = alone[0], alone[-1]
    each = (large.after_bytes - small.after_bytes) / (large.seen - small.seen)
    return f"From {small.seen:,} to {large.seen:,} URLs each one more takes {each:.2f} bytes. "


def _longest(results: Sequence[Result]) -> str:
    longest: dict[str, int] = {}
    for _, _, slow in results:
        for name, us in slow.items():
            longest[name] = max(longest.get(name, 0), us)
    if not longest:
        return f"No script took {SLOW_US / 1000:.0f} ms. "
    ordered = sorted(longest.items(), key=lambda one: -one[1])
    told = ", ".join(f"{name} {us / 1000:.1f} ms" for name, us in ordered)
    return f"The longest run of each script that took more than {SLOW_US / 1000:.0f} ms: {told}. "


def caption(rivals: Path) -> str:
    """When and on what."""
    known = ", ".join(f"{name} {version}" for name, version in sorted(versions(rivals, PACKAGES).items()))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"Measured by `python -m tests.bench.redis` on {date}, one shard, one connection, appendfsync everysec. "
        "µs are CPU time per request; *commands* are those the scripts give and the scripts themselves. While pages "
        "are taken as many are put in their place. Memory is `used_memory` without what an empty server has; per host "
        f"is all that its URLs take beyond the same number on one host. {machine()}; Python "
        f"{platform.python_version()}, {known}."
    )
