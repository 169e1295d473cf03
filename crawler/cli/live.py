"""The live view of a crawl on a terminal. The only file that imports rich, and imported only when it is shown."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, TextIO

import rich.live
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from crawler.cli.gauge import Speed, errors, present
from crawler.cli.text import number, plural, printable, rate, seconds, size

if TYPE_CHECKING:
    from crawler.report import Snapshot

OTHER_LINES = 12
"""Lines that are no worker rows; the rest of the terminal's height is for them."""

ERRORS_SHOWN = 8


class Live:
    """Redraws on each tick and leaves nothing behind: the summary follows it."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = printable(title)
        self._console = Console(file=stream)
        self._speed = Speed()
        self._worker_speeds: dict[str, Speed] = {}
        self._live = rich.live.Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._open = False
        self._pid = os.getpid()

    def tick(self, snapshot: Snapshot) -> None:
        self._speed.note(snapshot.seconds, snapshot.counts.pages)
        gone = self._worker_speeds.keys() - {worker.name for worker in snapshot.workers}
        for name in gone:
            del self._worker_speeds[name]
        for worker in snapshot.workers:
            self._worker_speeds.setdefault(worker.name, Speed()).note(snapshot.seconds, worker.pages)
        try:
            if not self._open:
                self._live.start()
                self._open = True
            self._live.update(self._view(snapshot), refresh=True)
        except OSError:  # the terminal is gone: the crawl goes on
            self._console.quiet = True

    def say(self, text: str) -> None:
        """Above the view. A forked child writes a plain line instead: the view is not its own."""
        if os.getpid() == self._pid and self._open:
            self._console.print(Text(printable(text)))
        else:
            with contextlib.suppress(OSError):
                print(f"\r\x1b[K{printable(text)}", file=self._console.file, flush=True)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._live.stop()

    def _view(self, snapshot: Snapshot) -> RenderableType:
        rows: list[RenderableType] = [self._head(snapshot), _counts(snapshot, self._speed.per_second())]
        troubles = errors(snapshot.counts.reasons)
        if troubles:
            rows.append(_errors(troubles))
        if snapshot.queues:
            rows += [Text(), _queues(snapshot)]
        if snapshot.workers:
            rows += [Text(), self._workers(snapshot)]
        return Group(*rows)

    def _head(self, snapshot: Snapshot) -> RenderableType:
        text = Text.assemble((self._title, "bold"), "  ", (snapshot.state, "green"), f"  {seconds(snapshot.seconds)}")
        if snapshot.state == "draining":
            text.append("  finishing; Ctrl-C again stops at once", "yellow")
        return Rule(text, align="left", characters="─", style="dim")

    def _workers(self, snapshot: Snapshot) -> RenderableType:
        table = _table("worker", "leased", "pages", "pages/s", "last sign of life")
        now_ms = time.time() * 1000
        workers = present(snapshot.workers, now_ms)
        room = max(2, self._console.height - OTHER_LINES - len(snapshot.queues))
        for worker in workers[:room]:
            silent_s = max(0.0, now_ms - worker.seen_ms) / 1000
            table.add_row(
                Text(worker.name),
                number(worker.leased),
                number(worker.pages),
                rate(self._worker_speeds[worker.name].per_second()),
                Text(f"{seconds(silent_s)} ago" if worker.seen_ms else "-", "yellow" if silent_s > 30 else ""),
            )
        more = len(workers) - room
        return Group(table, Text(f"… and {more} more", "dim")) if more > 0 else table


def _counts(snapshot: Snapshot, per_second: float) -> RenderableType:
    """Three lines of label and value pairs, in columns."""
    counts = snapshot.counts
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        grid.add_column(no_wrap=True)
    cells = [
        _pair("pages", number(counts.pages), "bold"),
        _pair("pages/s", rate(per_second), "bold"),
        _pair("items", number(counts.items)),
        _pair("bytes", size(counts.bytes)),
        _pair("ready", number(counts.ready)),
        _pair("leased", number(counts.leased)),
        _pair("delayed", number(counts.delayed)),
        _pair("dead", number(counts.dead), "red" if counts.dead else ""),
        _pair("hosts", number(counts.hosts)),
        _pair("retries", number(counts.retries)),
        _pair("suspects", number(counts.suspects), "yellow" if counts.suspects else ""),
        _pair("restarts", number(snapshot.restarts), "yellow" if snapshot.restarts else ""),
    ]
    for start in range(0, len(cells), 4):
        grid.add_row(*cells[start : start + 4])
    seeded = snapshot.seeded
    if seeded is None:
        return grid
    refused = f", {number(seeded.refused)} refused" if seeded.refused else ""
    text = f"seeds     {number(seeded.new)} new, {number(seeded.known)} known{refused}"
    return Group(grid, Text(text, "yellow" if seeded.refused else "dim"))


def _pair(label: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<10}", "dim"), (f"{value:<8}", style))


def _errors(troubles: list[tuple[str, int]]) -> Text:
    text = Text("errors    ", "dim")
    for name, times in troubles[:ERRORS_SHOWN]:
        text.append(f"{printable(name)} {number(times)}  ", "red")
    if len(troubles) > ERRORS_SHOWN:
        text.append(f"and {plural(len(troubles) - ERRORS_SHOWN, 'other kind')}", "dim")
    return text


def _queues(snapshot: Snapshot) -> RenderableType:
    table = _table("queue", "waiting", "leased", "stored", "dead", "oldest")
    for name, queue in sorted(snapshot.queues.items()):
        waiting = queue.ready + queue.delayed + queue.suspects
        table.add_row(
            Text(name),
            number(waiting),
            number(queue.leased),
            number(queue.done),
            Text(number(queue.dead), "red" if queue.dead else ""),
            seconds(queue.oldest_ready_s) if queue.ready else "-",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table
