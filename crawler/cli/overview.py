"""What `crawler status` found, for people: counts, queues, shards, workers and hosts, no wider than the terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crawler.cli.gauge import present
from crawler.cli.text import number, plural, printable, rate, seconds, shorten, size, table

if TYPE_CHECKING:
    from crawler.view import Counts, Host, QueueCounts, Shard, WorkerRow

LABEL = 10
"""Width of the labels on the left."""

NAME_MIN = 12
"""A host or server is not shortened further than that."""


def text(view: Mapping[str, Any], width: int) -> str:
    """The view of `status.look`. Lines are broken and names shortened to fit `width` where they can be."""
    counts: Counts = view["counts"]
    shards: tuple[Shard, ...] = view["shards"]
    facts = [
        ("crawl", f"{printable(view['name'])}  {view['phase']}  ({view['state']})"),
        ("done", _done(counts, view["pages_per_second"])),
        ("waiting", _waiting(counts, shards)),
        (
            "failed",
            f"dead {number(counts.dead)}, dropped {number(counts.dropped)}, retries {number(counts.retries)}, "
            f"crashes {number(counts.crashes)}",
        ),
        ("known", f"{plural(counts.added, 'URL')} on {plural(counts.hosts, 'host')}; producers: {_producers(counts)}"),
    ]
    if view.get("opens"):
        facts.insert(1, ("hours", f"outside politeness.hours, opens at {view['opens']}"))
    if len(shards) == 1 and shards[0].place:
        memory = f", {size(shards[0].memory_bytes)} in use" if shards[0].memory_bytes else ""
        facts.append(("server", shards[0].place + memory))
    if counts.reasons:
        ordered = sorted(counts.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        facts.append(("reasons", ", ".join(f"{printable(name)} {number(times)}" for name, times in ordered)))
    lines = [line for label, fact in facts for line in _wrapped(label, fact, width)]
    blocks = (
        _queues(view["queues"], view.get("stored_per_second", {}), width),
        _shards(shards, width) if len(shards) > 1 else "",
        _workers(view["workers"], width),
        _hosts(view["hosts"], view["rates"], width),
    )
    for block in filter(None, blocks):
        lines += ["", block]
    for name in view.get("unconsumed", ()):
        at = f"--state {view['state']}"
        lines += ["", f"nobody takes from queue {name}: crawler store {name} {at}, with the settings that have it"]
    if view.get("unrouted"):
        told = plural(view["unrouted"], "message")
        lines += ["", f"no pipeline wanted {told}: see bind in [pipelines.NAME]"]
    if any(queue.dead for queue in view["queues"].values()):
        lines += ["", f"why messages are dead: crawler dead ls --items --state {view['state']}"]
    if counts.dead:
        lines += ["", f"why pages are dead: crawler dead ls --state {view['state']}"]
    return "\n".join(lines)


def _wrapped(label: str, fact: str, width: int) -> list[str]:
    return textwrap.wrap(
        f"{label:<{LABEL}}{fact}",
        max(width, 2 * LABEL),
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _done(counts: Counts, per_second: float | None) -> str:
    speed = "" if per_second is None else f", {rate(per_second)} pages/s"
    ended = counts.done - counts.pages
    return (
        f"{plural(counts.pages, 'page')}, {plural(counts.items, 'item')}, {size(counts.bytes)}{speed}"
        f"; {number(ended)} ended without a page"
    )


def _waiting(counts: Counts, shards: Sequence[Shard]) -> str:
    said = (
        f"ready {number(counts.ready)}, delayed {number(counts.delayed)}, "
        f"leased {number(counts.leased)}, suspects {number(counts.suspects)}"
    )
    if counts.revisits:
        said += f"; of the delayed {number(counts.revisits)} to be visited again"
    oldest_s = max((shard.oldest_s for shard in shards), default=0.0)
    dues = [shard.next_due_s for shard in shards if shard.next_due_s is not None]
    if oldest_s:
        return f"{said}; oldest ready {seconds(oldest_s)}"
    return f"{said}; next due {_due(min(dues))}" if dues else said


def _due(due_s: float | None) -> str:
    return "-" if due_s is None else f"in {seconds(due_s)}" if due_s else "now"


def _producers(counts: Counts) -> str:
    lost = f", {counts.producers_lost} lost" if counts.producers_lost else ""
    return f"{counts.producers_open} open, {counts.producers_closed} closed{lost}"


def _queues(queues: Mapping[str, QueueCounts], rates: Mapping[str, float], width: int) -> str:
    """`oldest`: how far the store is behind."""
    rows = [
        (
            name,
            q.ready,
            q.leased,
            q.delayed,
            q.suspects,
            q.dead,
            q.done,
            rate(rates[name]) if name in rates else "-",
            seconds(q.oldest_ready_s) if q.ready else "-",
        )
        for name, q in sorted(queues.items())
    ]
    head = ("queue", "ready", "leased", "delayed", "suspects", "dead", "stored", "stored/s", "oldest")
    return _fitted(head, rows, width, droppable=("delayed", "suspects", "dead", "stored/s"))


def _shards(shards: Sequence[Shard], width: int) -> str:
    rows = [
        (
            str(shard.number),
            shard.place or "-",
            *(getattr(shard.counts, name) for name in ("ready", "delayed", "leased", "suspects", "dead", "done")),
            seconds(shard.oldest_s) if shard.oldest_s else "-",
            _due(shard.next_due_s),
            size(shard.memory_bytes) if shard.memory_bytes else "-",
        )
        for shard in shards
    ]
    head = ("shard", "server", "ready", "delayed", "leased", "suspects", "dead", "done", "oldest", "next due", "memory")
    droppable = ("server", "delayed", "suspects", "dead", "memory")
    return _fitted(head, rows, width, droppable=droppable, name="server")


def _workers(workers: tuple[WorkerRow, ...], width: int) -> str:
    now_ms = time.time() * 1000
    rows = [
        (printable(w.name), w.leased, w.pages, f"{seconds((now_ms - w.seen_ms) / 1000)} ago" if w.seen_ms else "-")
        for w in present(workers, now_ms)
    ]
    return _fitted(("worker", "leased", "pages", "last sign of life"), rows, width)


def _hosts(hosts: tuple[Host, ...], rates: Mapping[str, float], width: int) -> str:
    rows = [
        (
            printable(h.name),
            h.ready,
            h.in_flight,
            h.delayed,
            h.dead,
            h.done,
            "down" if h.down else _due(h.paused_s) if h.ready else "-",
            rate(rates[h.name]) if h.name in rates else "-",
            "-" if h.pacer in ("", "crawl") else f"{seconds(h.pace_s)} {pacer(h)}",
            h.failures,
        )
        for h in hosts
    ]
    head = ("host", "ready", "in flight", "delayed", "dead", "done", "next due", "done/s", "delay", "failures")
    return _fitted(head, rows, width, droppable=("delayed", "dead", "done/s", "delay", "failures"))


def pacer(host: Host) -> str:
    """What decides on a host's delay, in a word."""
    return f"slow x{host.slow}" if host.pacer == "slow" else host.pacer


def _fitted(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    *,
    droppable: Sequence[str] = (),
    name: str = "",
) -> str:
    """A table without the droppable columns that say nothing, the column `name` (else the first) shortened to fit."""
    if not rows:
        return ""
    kept = [
        at for at, title in enumerate(head) if title not in droppable or any(row[at] not in (0, "-") for row in rows)
    ]
    titles = [head[at] for at in kept]
    cells = [[row[at] for at in kept] for row in rows]
    named = titles.index(name) if name in titles else 0
    over = max(map(len, table(titles, cells).splitlines())) - width
    if over > 0:
        longest = max(NAME_MIN, max(len(str(row[named])) for row in cells) - over)
        cells = [[shorten(str(cell), longest) if at == named else cell for at, cell in enumerate(row)] for row in cells]
    return table(titles, cells)
