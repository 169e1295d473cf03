"""`crawler monitor`: the steps of a crawl's requests as they happen, one line each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, get_args, get_type_hints

from crawler.cli import option
from crawler.cli.text import printable, shorten

if TYPE_CHECKING:
    from crawler.view import Transition

EXAMPLES = """\
  crawler monitor                                   every outcome from now on, until Ctrl-C
  crawler monitor --what retry,bury                 only what goes wrong
  crawler monitor --host example.org --seconds 60   one host, for a minute
  crawler monitor --json | jq .url                  as JSON, one step a line

A crawl in files shows outcomes only (done, retry, bury), as soon as its history has them. Workers do not wait for it.
"""

T = TypeVar("T")

FLUSH_S = 0.2
"""A line is not kept back for longer."""


def add(commands: option.Commands) -> None:
    text = "show what happens to pages, one line each, until Ctrl-C"
    parser = option.command(commands, "monitor", run, text, EXAMPLES)
    parser.add_argument("--what", type=_kinds, metavar="W,…", help="only these steps, as done,retry,bury; default all")
    parser.add_argument("--host", type=option.host, metavar="H", help="only this host, as example.org:8080")
    parser.add_argument("--seconds", type=option.number, metavar="N", help="end after so many; default: never")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    option.add_state(parser)
    option.add_settings(parser)


def _kinds(text: str) -> frozenset[str]:
    """A check for argparse."""
    from crawler.view import Transition

    known = get_args(get_type_hints(Transition)["what"])
    given = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not given or given - set(known):
        wrong = ", ".join(sorted(given - set(known))) or "nothing"
        raise argparse.ArgumentTypeError(f"{wrong}: no step; there are {', '.join(known)}")
    return given


def run(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state

    settings = option.load(arguments)
    place = state.resolve(settings, arguments.state)
    steps = app.open_transitions(settings, place)
    until = monotonic() + float(arguments.seconds) if arguments.seconds is not None else None
    try:
        for step in timed(steps, until):
            if (arguments.what is None or step.what in arguments.what) and arguments.host in (None, step.host):
                _print(step, as_json=arguments.json)
    except KeyboardInterrupt:  # the way to leave
        return 0
    return 0


def timed(found: Iterator[T | None], until: float | None) -> Iterator[T]:
    """What is found, until it is time; what was printed of it is shown soon."""
    flushed = monotonic()
    for one in found:
        if one is not None:
            yield one
        now = monotonic()
        if one is None or now - flushed >= FLUSH_S:
            sys.stdout.flush()
            flushed = now
        if until is not None and now >= until:
            return


def _print(step: Transition, *, as_json: bool) -> None:
    from msgspec import json

    print(json.encode(step).decode() if as_json else line(step, option.columns() if sys.stdout.isatty() else 0))


def line(step: Transition, width: int = 0) -> str:
    """Time (UTC), what, worker, URL, reason. `width` > 0: worker and URL are shortened to fit a terminal."""
    at = datetime.fromtimestamp(step.at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    worker = printable(step.worker)
    head = f"{at} {step.what:<8} {worker.partition('-')[0] if width else worker:<3} "
    tail = f"  {printable(step.reason)}" if step.reason else ""
    url = printable(step.url)
    return head + (shorten(url, max(20, width - len(head) - len(tail))) if width else url) + tail
