"""`crawler dead`: what was buried, why, and the way back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.text import plural, printable, shorten, table
from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.cli.letters import Items, Letter, Pages

EXAMPLES = """\
  crawler dead ls                                   the dead pages of the only crawl in .crawler
  crawler dead ls --reason http_404 --limit 0       all that were not found
  crawler dead show https://example.org/broken      one page with everything known of it
  crawler dead kick --reason http_503               crawl them again: by the next `crawler run`, or one that is running
  crawler dead kick --host example.org              the same for a host; one that was down counts as up again
  crawler dead drop --reason http_404               forget them; their URLs stay known and are not crawled again
  crawler dead ls --items                           items that a store refused, of every queue
  crawler dead kick --items prices                  let the store named prices try again
"""

LIMIT = 100
"""Shown without `--limit`."""


def add(commands: option.Commands) -> None:
    text = "dead letters, pages or items: list, look at, bring back, forget"
    parser = option.command(commands, "dead", _ls, text, EXAMPLES)
    verbs = parser.add_subparsers(title="what to do", metavar="ls|show|kick|drop", required=True)
    for name, command, what in (
        ("ls", _ls, "list dead pages or items, oldest first"),
        ("show", _show, "show dead pages or items with all that is known of them"),
        ("kick", _kick, "have dead pages or items tried again, with a clean slate"),
        ("drop", _drop, "forget dead pages or items for good"),
    ):
        verb = option.command(verbs, name, command, what, EXAMPLES)
        verb.add_argument("which", nargs="*", metavar="URL|ID", help="only these: a URL, a fingerprint, an item's id")
        verb.add_argument("--reason", metavar="R", help="only those buried for this reason, as http_404")
        verb.add_argument(
            "--host", type=option.host, metavar="H", help="only those of this host, as example.org or example.org:8080"
        )
        least = "0: all; default all" if name in ("kick", "drop") else f"0: all; default {LIMIT}"
        verb.add_argument("--limit", type=option.whole(), metavar="N", help=f"at most so many; {least}")
        verb.add_argument(
            "--items", nargs="?", const="", metavar="QUEUE", help="items instead of pages, of one queue or all"
        )
        if name in ("ls", "show"):
            verb.add_argument("--json", action="store_true", help="one JSON object a line")
        if name == "drop":
            verb.add_argument("--all", action="store_true", help="needed to drop everything, when nothing else is said")
        option.add_state(verb)
        option.add_settings(verb)


def _ls(arguments: argparse.Namespace) -> int:
    limit = LIMIT if arguments.limit is None else arguments.limit
    with _open(arguments) as source:
        found = list(islice(source.found(), limit + 1 if limit else None))
    shown = found[:limit] if limit else found
    if arguments.json:
        return _print_json(shown)
    if not shown:
        print(f"no dead {source.noun}s")
        return 0
    print(_table(shown))
    if len(found) > len(shown):
        print(f"… the first {len(shown)}; --limit 0 shows all")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    limit = LIMIT if arguments.limit is None else arguments.limit
    with _open(arguments) as source:
        found = list(islice(source.found(), limit or None))
    if arguments.json:
        return _print_json(found)
    print("\n\n".join(_full(letter) for letter in found) or f"no such dead {source.noun}")
    return 0 if found else 1


def _kick(arguments: argparse.Namespace) -> int:
    with _open(arguments) as source:
        print(f"{plural(source.kick(), source.noun)} kicked: ready again")
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    narrowed = arguments.which or arguments.reason or arguments.host or arguments.items or arguments.limit
    if not narrowed and not arguments.all:
        raise SettingsError("drop what? Say --reason, --host, a URL or an id, or --all for everything")
    with _open(arguments) as source:
        print(f"{plural(source.drop(), source.noun)} dropped")
    return 0


def _open(arguments: argparse.Namespace) -> Pages | Items:
    from crawler import app
    from crawler.cli import state
    from crawler.cli.letters import Items, Narrow, Pages, is_url, wanted
    from crawler.urlform import Form

    settings = option.load(arguments)
    place = state.resolve(settings, arguments.state)
    form = Form()
    if any(map(is_url, arguments.which)):
        with app.open_frontier(settings, place) as frontier:
            form = state.form(settings, frontier.record())
    which = wanted(arguments.which, form)
    narrow = Narrow(which, arguments.reason, arguments.host, arguments.items or None, arguments.limit or 0)
    if arguments.items is None:
        return Pages(app.open_frontier(settings, place), narrow)
    return Items(app.open_exchange(settings, place), narrow)


def _died(died_ms: int) -> str:
    return datetime.fromtimestamp(died_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(letters: Sequence[Letter]) -> str:
    rows = []
    for letter in letters:
        detail = printable(letter.value.detail).strip().partition("\n")[0]
        url = shorten(printable(letter.url), 80)
        rows.append((letter.value.reason, _died(letter.value.died_ms), letter.queue, url, shorten(detail, 60)))
    head = ("reason", "died", "queue", "url", "detail")
    if letters[0].queue:
        return table(head, rows)
    return table((*head[:2], *head[3:]), [(*row[:2], *row[3:]) for row in rows])


def _full(letter: Letter) -> str:
    """Everything known of one."""
    value = letter.value
    rows = [("url", letter.url), *letter.facts, ("reason", value.reason), ("died", _died(value.died_ms))]
    rows += [("attempts", value.attempts), ("crashes", value.crashes)]
    lines = [f"{name:<12} {printable(str(fact))}" for name, fact in rows]
    detail = [f"  {line}" for line in printable(value.detail).splitlines()]
    return "\n".join(lines + (["detail", *detail] if detail else []))


def _print_json(letters: Sequence[Letter]) -> int:
    import msgspec

    for letter in letters:
        print(msgspec.json.encode(letter.value).decode())
    return 0
