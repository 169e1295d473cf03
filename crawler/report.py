"""What a run tells: a snapshot several times a second, a report at the end, and what its processes used."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping

import msgspec

from crawler.seed import SeedReport
from crawler.view import Counts, Finish, QueueCounts, WorkerRow

SIGTERM = "SIGTERM"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The run at one moment."""

    counts: Counts
    queues: dict[str, QueueCounts] = {}
    workers: tuple[WorkerRow, ...] = ()
    seconds: float = 0.0
    state: str = "crawling"
    """`crawling`, `draining` (workers finish what is in flight) or `storing` (pipelines empty their queues)."""
    restarts: int = 0
    seeded: SeedReport | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. Numbers without `_total` are this run's; `cpu_seconds` and `peak_rss_mb` cover the process
    tree."""

    finish: Finish
    interrupted: bool
    pages: int
    items: int
    failed: int
    """Pages and redirects buried."""
    dead: int
    """Dead letters that the crawl now has."""
    seconds: float
    cpu_seconds: float
    pages_per_second: float
    pages_per_cpu_second: float
    peak_rss_mb: float
    """Most memory the whole tree held at once, shared pages counted once (Linux PSS), in 10**6 bytes."""
    bytes: int
    restarts: int
    """Processes started again after a death."""
    pages_total: int
    items_total: int
    pending: int
    """Requests still waiting: more than 0 when a limit or a signal ended the run."""
    revisits: int = 0
    """Pages that wait for a later visit, for which a run does not wait."""
    unstored: int
    """Messages still in queues."""
    dead_items: int
    errors: dict[str, int]
    """`retry:http_503`, `bury:http_404` … -> how often."""
    outputs: dict[str, str]
    """Pipeline -> what it writes to."""
    state: str
    seeded: SeedReport | None = None
    lost_to: str = ""
    """What stopped the run early: `SIGINT`, `SIGTERM`, `limit: …`; empty when nothing did."""

    @property
    def exit_code(self) -> int:
        """0 finished, at a limit that was asked for, or drained as SIGTERM asks; 1 incomplete; 2 no seed was any good;
        130 interrupted (128 + SIGINT)."""
        if self.interrupted:
            return 130
        if self.lost_to == SIGTERM:
            return 0
        seeded = self.seeded
        if seeded and seeded.refused and not (seeded.new or seeded.known or self.pages_total):
            return 2
        complete = self.finish in (Finish.FINISHED, Finish.LIMIT) or self.lost_to.startswith("limit")
        return 0 if complete and not self.unstored else 1


def report(
    before: Counts,
    last: Snapshot,
    *,
    finish: Finish,
    interrupted: bool,
    peak_rss_bytes: int,
    outputs: Mapping[str, str],
    state: str,
    lost_to: str,
    queues: Iterable[str],
) -> Report:
    """The report of a run that began at `before` and had `queues` stored. Call it after every child has been waited
    for: only then is their CPU time in this process's account."""
    after = last.counts
    pages, cpu = after.pages - before.pages, cpu_seconds()
    errors = {
        reason: count - before.reasons.get(reason, 0)
        for reason, count in sorted(after.reasons.items())
        if not reason.startswith("done") and count > before.reasons.get(reason, 0)
    }
    return Report(
        finish=finish,
        interrupted=interrupted,
        pages=pages,
        items=after.items - before.items,
        failed=sum(count for reason, count in errors.items() if reason.startswith("bury:")),
        dead=after.dead,
        seconds=round(last.seconds, 3),
        cpu_seconds=round(cpu, 3),
        pages_per_second=round(pages / last.seconds, 1) if last.seconds else 0.0,
        pages_per_cpu_second=round(pages / cpu, 1) if cpu else 0.0,
        peak_rss_mb=round(peak_rss_bytes / 1e6, 1),
        bytes=after.bytes - before.bytes,
        restarts=last.restarts,
        pages_total=after.pages,
        items_total=after.items,
        pending=after.ready + after.delayed - after.revisits + after.leased + after.suspects,
        revisits=after.revisits,
        unstored=unstored(last, queues),
        dead_items=sum(queue.dead for queue in last.queues.values()),
        errors=errors,
        outputs=dict(outputs),
        state=state,
        seeded=last.seeded,
        lost_to=lost_to,
    )


def unstored(snapshot: Snapshot, queues: Iterable[str]) -> int:
    """Messages that wait in these queues or are with a consumer."""
    found = [snapshot.queues[name] for name in queues if name in snapshot.queues]
    return sum(queue.ready + queue.delayed + queue.leased + queue.suspects for queue in found)


def cpu_seconds() -> float:
    """CPU time, user and system, of this process since its start and of its children that were waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def memory_bytes(pids: Iterable[int]) -> int:
    """What these processes hold together, shared pages counted once (PSS); where the kernel does not tell, this
    process's own peak. Cost: about 1 ms a process."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        except OSError:
            continue
    return total or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
