"""`crawler status`: one look at any crawl, running or not, from counters: its size does not matter."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from crawler.cli import option
from crawler.cli.gauge import present
from crawler.cli.text import number, plural, printable, seconds, shorten, size, table

if TYPE_CHECKING:
    from crawler.exchange import Exchange
    from crawler.frontier import Frontier
    from crawler.model import CrawlRecord
    from crawler.view import Counts, Finish, Host, QueueCounts, WorkerRow

EXAMPLES = """\
  crawler status                            the only crawl in .crawler
  crawler status --state quotes.db          a crawl by its state file
  crawler status --watch 1 --hosts 20       again every second, with the 20 hosts that have most to do
  crawler status --json | jq .counts.ready
"""

WATCH_S = 2.0


def add(commands: option.Commands) -> None:
    text = "show a crawl: counts, queues, workers, hosts"
    parser = option.command(commands, "status", run, text, EXAMPLES)
    option.add_state(parser)
    parser.add_argument("--hosts", type=option.whole(), default=10, metavar="N", help="hosts shown; default 10")
    parser.add_argument("--json", action="store_true", help="one JSON object; with --watch one a line")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=WATCH_S,
        metavar="S",
        help=f"again every S seconds, default {WATCH_S:g}, until Ctrl-C",
    )
    option.add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state

    settings = option.load(arguments)
    place = state.resolve(settings, arguments.state)
    with app.open_frontier(settings, place) as frontier, app.open_exchange(settings, place) as exchange:
        if arguments.watch is None:
            _show(look(frontier, exchange, place, arguments.hosts), as_json=arguments.json, clear=False)
            return 0
        try:
            while True:
                view = look(frontier, exchange, place, arguments.hosts)
                _show(view, as_json=arguments.json, clear=sys.stdout.isatty() and not arguments.json)
                time.sleep(max(0.1, arguments.watch))
        except KeyboardInterrupt:  # the way to leave
            return 0


def look(frontier: Frontier, exchange: Exchange, place: str, hosts: int) -> dict[str, Any]:
    """Everything that status shows, with values of the model. Cost: some small reads."""
    from crawler.cli.state import is_running

    record, counts = frontier.record(), frontier.counts()
    finish = frontier.finished()
    return {
        "name": record.name,
        "state": place,
        "phase": phase(record, finish, counts, running=is_running(place)),
        "finish": finish,
        "counts": counts,
        "queues": exchange.counts(),
        "workers": frontier.workers(),
        "hosts": frontier.hosts(hosts) if hosts else (),
        "record": record,
    }


def phase(record: CrawlRecord, finish: Finish, counts: Counts, *, running: bool) -> str:
    """One word: paused, finished, incomplete, limit, running, new, or stopped. `running`: a process works on it."""
    if record.paused:
        return "paused"
    if finish.value != "running":
        return finish.value
    if running or counts.producers_open:
        return "running"
    return "stopped" if counts.added else "new"


def _show(view: dict[str, Any], *, as_json: bool, clear: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(view).decode(), flush=True)
    else:
        print(("\x1b[H\x1b[2J" if clear else "") + text(view), flush=True)


def text(view: dict[str, Any]) -> str:
    """The view for people."""
    counts: Counts = view["counts"]
    producers = (
        f"{counts.producers_open} open, {counts.producers_closed} closed"
        + (f", {counts.producers_lost} lost" if counts.producers_lost else "")
    )  # fmt: skip
    lines = [
        f"{'crawl':<9} {printable(view['name'])}  {view['phase']}  ({view['state']})",
        f"{'done':<9} {plural(counts.pages, 'page')}, {plural(counts.items, 'item')}, {size(counts.bytes)}"
        f"; {number(counts.done - counts.pages)} ended without a page",
        f"{'waiting':<9} ready {number(counts.ready)}, delayed {number(counts.delayed)}, "
        f"leased {number(counts.leased)}, suspects {number(counts.suspects)}",
        f"{'failed':<9} dead {number(counts.dead)}, dropped {number(counts.dropped)}, "
        f"retries {number(counts.retries)}, crashes {number(counts.crashes)}",
        f"{'known':<9} {plural(counts.added, 'URL')} on {plural(counts.hosts, 'host')}; producers: {producers}",
    ]
    if counts.reasons:
        ordered = sorted(counts.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        lines.append(f"{'reasons':<9} " + ", ".join(f"{printable(name)} {number(times)}" for name, times in ordered))
    for block in (_queues(view["queues"]), _workers(view["workers"]), _hosts(view["hosts"])):
        if block:
            lines += ["", block]
    if counts.dead:
        lines += ["", f"why pages are dead: crawler dead ls --state {view['state']}"]
    return "\n".join(lines)


def _queues(queues: dict[str, QueueCounts]) -> str:
    rows = [
        (name, q.ready, q.leased, q.delayed, q.suspects, q.dead, q.done, seconds(q.oldest_ready_s) if q.ready else "-")
        for name, q in sorted(queues.items())
    ]
    return table(("queue", "ready", "leased", "delayed", "suspects", "dead", "stored", "oldest"), rows) if rows else ""


def _workers(workers: tuple[WorkerRow, ...]) -> str:
    now_ms = time.time() * 1000
    rows = [
        (printable(w.name), w.leased, w.pages, f"{seconds((now_ms - w.seen_ms) / 1000)} ago" if w.seen_ms else "-")
        for w in present(workers, now_ms)
    ]
    return table(("worker", "leased", "pages", "last seen"), rows) if rows else ""


def _hosts(hosts: tuple[Host, ...]) -> str:
    rows = [
        (
            shorten(printable(h.name), 40),
            h.ready,
            h.in_flight,
            "-" if h.delay_s is None else seconds(h.delay_s),
            seconds(h.paused_s) if h.paused_s else "-",
            "down" if h.down else str(h.failures),
        )
        for h in hosts
    ]
    return table(("host", "ready", "in flight", "delay", "paused", "failures"), rows) if rows else ""
