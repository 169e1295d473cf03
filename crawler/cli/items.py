"""`crawler items tail`: items as they flow to the stores, one line each."""

from __future__ import annotations

import argparse
import sys
from time import monotonic
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.monitor import timed
from crawler.cli.text import printable, shorten

if TYPE_CHECKING:
    from crawler.model import Message

EXAMPLES = """\
  crawler items tail                                every item from now on, until Ctrl-C
  crawler items tail --kind 'shop.*' --seconds 60   of some kinds, for a minute
  crawler items tail --pipeline prices              what goes to the store named prices
  crawler items tail --json | jq .data.price        as JSON, one item a line

Nothing is taken from the stores' queues. With RabbitMQ every item is shown, up to 10,000 ahead of this terminal. A
crawl in files shows what is waiting for a store just then, so that items that are stored at once may be missing.
"""


def add(commands: option.Commands) -> None:
    text = "watch items on their way to the stores"
    parser = option.command(commands, "items", tail, text, EXAMPLES)
    verbs = parser.add_subparsers(title="what to do", metavar="tail", required=True)
    verb = option.command(verbs, "tail", tail, "show items as they flow, without taking them", EXAMPLES)
    verb.add_argument("--kind", metavar="K", help="only this kind, or kinds of a pattern as 'shop.*' or '#.news'")
    verb.add_argument("--pipeline", metavar="P", help="only what goes to this pipeline's queue")
    verb.add_argument("--seconds", type=option.number, metavar="S", help="end after so long; default: with Ctrl-C")
    verb.add_argument("--json", action="store_true", help="one JSON object a line, as pipelines.jsonl writes it")
    option.add_state(verb)
    option.add_settings(verb)


def tail(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state

    settings = option.load(arguments)
    place = state.resolve(settings, arguments.state)
    messages = app.open_items(settings, place, kind=arguments.kind, pipeline=arguments.pipeline)
    until = monotonic() + float(arguments.seconds) if arguments.seconds is not None else None
    try:
        for message in timed(messages, until):
            _print(message, as_json=arguments.json)
    except KeyboardInterrupt:  # the way to leave
        return 0
    return 0


def _print(message: Message, *, as_json: bool) -> None:
    from pipelines.jsonl import objects

    if as_json:
        for found in objects([message]):
            print(found.decode())
        return
    width = option.columns() if sys.stdout.isatty() else 0
    for text in lines(message, width):
        print(text)


def lines(message: Message, width: int = 0) -> list[str]:
    """Time of the fetch (UTC), kind, URL, data as JSON; of a whole page its size. `width` > 0: cut to a terminal's."""
    head = f"{printable(message.fetched_at[11:23])} {printable(message.kind)} "
    url = printable(message.url)
    url = shorten(url, max(20, (width - len(head)) // 2)) if width else url
    found = []
    for record in message.records:
        data = f"{len(message.blob)} bytes" if message.blob else printable(bytes(record.data).decode(errors="replace"))
        text = f"{head}{url}  {data}".replace("\n", " ")
        found.append(f"{text[: width - 1]}…" if width and len(text) > width else text)
    return found
