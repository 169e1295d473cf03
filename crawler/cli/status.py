"""`crawler status`: one look at any crawl, running or not, from counters: its size does not matter."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crawler.cli import option
from crawler.cli.gauge import Speed
from crawler.cli.overview import text
from crawler.cli.text import plural

if TYPE_CHECKING:
    from crawler.exchange import Exchange
    from crawler.frontier import Frontier
    from crawler.model import CrawlRecord
    from crawler.settings import Settings
    from crawler.view import Counts, Finish, Host, QueueCounts

EXAMPLES = """\
  crawler status                            the only crawl in .crawler
  crawler status --state quotes.db          a crawl by its state file
  crawler status --watch 1 --hosts 20       again every second, with the 20 hosts that have most to do
  crawler status --json | jq .counts.ready
"""

WATCH_S = 2.0

UNCONSUMED_S = 10.0
"""A message that has waited for so long, while no consumer holds any, has none. A store that is away is not meant: its
consumer holds what it could not store."""


def add(commands: option.Commands) -> None:
    purpose = "show a crawl: counts, queues, shards, workers, hosts"
    parser = option.command(commands, "status", run, purpose, EXAMPLES)
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
        watch = Watch()
        if arguments.watch is None:
            view = look(settings, frontier, exchange, place, arguments.hosts, watch)
            _show(view, as_json=arguments.json, watching=False)
            return 0
        try:
            while True:
                view = look(settings, frontier, exchange, place, arguments.hosts, watch)
                _show(view, as_json=arguments.json, watching=True)
                time.sleep(max(0.1, arguments.watch))
        except KeyboardInterrupt:  # the way to leave
            return 0


class Watch:
    """What rose since the last look."""

    def __init__(self) -> None:
        self._pages = Speed(window_s=0)
        self._hosts: dict[str, Speed] = {}
        self._queues: dict[str, Speed] = {}

    def note(self, now_s: float, counts: Counts, hosts: Sequence[Host], queues: Mapping[str, QueueCounts]) -> None:
        self._pages.note(now_s, counts.pages)
        for name, queue in queues.items():
            self._queues.setdefault(name, Speed(window_s=0)).note(now_s, queue.done)
        self._hosts = {host.name: self._hosts.get(host.name) or Speed(window_s=0) for host in hosts}
        for host in hosts:
            self._hosts[host.name].note(now_s, host.done)

    def pages_per_second(self) -> float | None:
        """None at the first look."""
        return self._pages.per_second() if self._pages.known() else None

    def rates(self) -> dict[str, float]:
        """Done outcomes a second, of the hosts that were shown before too."""
        return {name: speed.per_second() for name, speed in self._hosts.items() if speed.known()}

    def stored_per_second(self) -> dict[str, float]:
        """Messages stored a second, by queue; empty at the first look."""
        return {name: speed.per_second() for name, speed in self._queues.items() if speed.known()}


def look(
    settings: Settings, frontier: Frontier, exchange: Exchange, place: str, hosts: int, watch: Watch
) -> dict[str, Any]:
    """Everything that status shows, with values of the model. Cost: some small reads."""
    from crawler.home import is_running
    from crawler.hours import Hours

    record, counts = frontier.record(), frontier.counts()
    finish, most = frontier.finished(), frontier.hosts(hosts) if hosts else ()
    queues = exchange.counts()
    watch.note(time.monotonic(), counts, most, queues)
    word = phase(record, finish, counts, running=is_running(settings, place))
    since_s = time.time() - record.created_ms / 1000 if record.created_ms and word == "running" else 0.0
    return {
        "name": record.name,
        "state": place,
        "phase": word,
        "opens": Hours(settings.politeness.hours, settings.politeness.zone).opens(int(time.time() * 1000)),
        "finish": finish,
        "counts": counts,
        "pages_per_second": watch.pages_per_second(),
        "shards": frontier.shards(),
        "queues": queues,
        "stored_per_second": watch.stored_per_second() or mean(queues, since_s),
        "unconsumed": unconsumed(queues),
        "unrouted": exchange.unrouted(),
        "workers": frontier.workers(),
        "hosts": most,
        "rates": watch.rates(),
        "record": record,
    }


def mean(queues: Mapping[str, QueueCounts], since_s: float) -> dict[str, float]:
    """Messages stored a second since the crawl began, by queue; empty when that says nothing."""
    return {name: queue.done / since_s for name, queue in queues.items()} if since_s >= 1 else {}


def unconsumed(queues: Mapping[str, QueueCounts]) -> list[str]:
    """Queues that nobody takes from: messages have waited for `UNCONSUMED_S`, and none is with a consumer."""
    return sorted(
        name
        for name, queue in queues.items()
        if queue.ready and not queue.leased and queue.oldest_ready_s > UNCONSUMED_S
    )


def phase(record: CrawlRecord, finish: Finish, counts: Counts, *, running: bool) -> str:
    """One word: paused, finished, incomplete, limit, running, new, or stopped. `running`: a process works on it."""
    if record.paused:
        return "paused"
    if finish.value != "running":
        return finish.value
    if running or counts.producers_open:
        return "running"
    return "stopped" if counts.added else "new"


def _show(view: dict[str, Any], *, as_json: bool, watching: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(view).decode(), flush=True)
        return
    shown = text(view, option.columns())
    print(_frame(shown) if watching and sys.stdout.isatty() else f"{shown}\n", end="", flush=True)


def _frame(shown: str) -> str:
    """In place of the last one, without flicker, and no higher than the terminal."""
    room = max(2, shutil.get_terminal_size().lines - 1)
    lines = shown.splitlines()
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… {plural(len(lines) - room + 1, 'line')} more"]
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
