"""`crawler peek` and `crawler purge`: what waits to be crawled, looked at or forgotten."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.text import number, plural, printable, seconds, shorten, table
from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.view import Trace

PEEK_EXAMPLES = """\
  crawler peek                              what is crawled next, host by host
  crawler peek example.org --limit 50       the next 50 of a host, then those that wait for their time
  crawler peek --json | jq .request.url     as JSON, one request a line

Looking changes nothing. Hosts take turns, those that are due for longest first; whether a host is paused, down or
waiting for its robots.txt does not count here: `crawler status` shows that.
"""

PURGE_EXAMPLES = """\
  crawler purge --host example.org          forget all that waits on a host; asks first
  crawler purge --all --yes                 forget all that waits; does not ask

What is being fetched, suspect or dead stays. The URLs stay known: they are not crawled again, in this crawl.
A running crawl goes on, and what it finds afterwards is added as ever.
"""

LIMIT = 20
"""Shown without `--limit`."""


def add(commands: option.Commands) -> None:
    text = "show what waits to be crawled, in order, without touching it"
    parser = option.command(commands, "peek", peek, text, PEEK_EXAMPLES)
    parser.add_argument("host", nargs="?", type=option.host, metavar="HOST", help="only this host; default: all")
    parser.add_argument(
        "--limit", type=option.whole(1), default=LIMIT, metavar="N", help=f"at most so many; default {LIMIT}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    option.add_state(parser)
    option.add_settings(parser)

    text = "forget what waits to be crawled, of a host or all"
    parser = option.command(commands, "purge", purge, text, PURGE_EXAMPLES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--host", type=option.host, metavar="H", help="only this host, as example.org:8080")
    which.add_argument("--all", action="store_true", help="all hosts; must be said")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    option.add_state(parser)
    option.add_settings(parser)


def peek(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state

    settings = option.load(arguments)
    with app.open_frontier(settings, state.resolve(settings, arguments.state)) as frontier:
        waiting = frontier.peek(host=arguments.host, limit=arguments.limit)
        counts = frontier.host(arguments.host) if arguments.host else frontier.counts()
        total = counts.ready + counts.delayed
    if arguments.json:
        import msgspec

        for one in waiting:
            print(msgspec.json.encode(one).decode())
    elif not waiting:
        print("nothing waits" + (f" on {arguments.host}" if arguments.host else ""))
    else:
        print(_table(waiting))
        if total > len(waiting):
            print(f"… {number(total - len(waiting))} more; --limit N shows more")
    return 0


def _table(waiting: tuple[Trace, ...]) -> str:
    head = ("state", "due", "prio", "depth", "failed", "url")
    rows = []
    for one in waiting:
        due = "-" if one.due_s is None else seconds(one.due_s)
        request = one.request
        assert request is not None
        rows.append([one.state, due, str(request.priority), str(request.depth), str(one.attempts), request.url])
    room = option.columns() - len(table(head[:-1], [row[:-1] for row in rows]).partition("\n")[0]) - 2
    return table(head, [[*row[:-1], shorten(printable(row[-1]), max(20, room))] for row in rows])


def purge(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state

    host: str | None = arguments.host
    if host is None and not arguments.all:
        raise SettingsError("purge what? Say --host HOST, or --all for everything that waits")
    settings = option.load(arguments)
    with app.open_frontier(settings, state.resolve(settings, arguments.state)) as frontier:
        where = f" on {host}" if host else ""
        counts = frontier.host(host) if host else frontier.counts()
        waiting = counts.ready + counts.delayed
        if not waiting:
            print(f"nothing waits{where}")
            return 0
        asked = f"Forget {plural(waiting, 'request')} waiting{where}?"
        if not arguments.yes and not option.confirmed(asked, "purge"):
            print("nothing purged")
            return 0
        print(f"{plural(frontier.purge(host=host), 'request')} purged{where}; their URLs stay known")
    return 0
