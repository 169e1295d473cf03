"""`crawler ls`, `pause`, `resume`, `rm`: the crawls of a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawler.cli import option, state
from crawler.cli.text import size, table
from crawler.error import BackendError, BadRecord, SettingsError

if TYPE_CHECKING:
    from crawler.settings import Settings

LS_EXAMPLES = """\
  crawler ls                        the crawls in .crawler, with what they are doing
  crawler ls --json                 one JSON object a line
"""

PAUSE_EXAMPLES = """\
  crawler pause quotes.toscrape.com     its workers get nothing more; those running wait
  crawler resume quotes.toscrape.com    they go on
  crawler pause big.db                  a crawl by its state file
"""

RM_EXAMPLES = """\
  crawler rm quotes.toscrape.com             forget the crawl: state and history; asks first
  crawler rm big.db --outputs --yes          its results as well; does not ask

Results are kept unless --outputs is given.
"""


def add(commands: option.Commands) -> None:
    text = "list the crawls of this folder"
    parser = option.command(commands, "ls", ls, text, LS_EXAMPLES)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    option.add_settings(parser)
    for name, command, text in (
        ("pause", pause, "give out no more pages of a crawl until it is resumed"),
        ("resume", resume, "let a paused crawl go on"),
    ):
        parser = option.command(commands, name, command, text, PAUSE_EXAMPLES)
        _add_names(parser)
        option.add_settings(parser)
    text = "remove crawls, with their results only if asked"
    parser = option.command(commands, "rm", rm, text, RM_EXAMPLES)
    _add_names(parser)
    parser.add_argument("--outputs", action="store_true", help="remove the results as well")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    option.add_settings(parser)


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="CRAWL", help="its name in .crawler, or its state file")


def ls(arguments: argparse.Namespace) -> int:
    settings = option.load(arguments)
    rows = [_row(settings, place) for place in _places(settings)]
    if arguments.json:
        import msgspec

        for row in rows:
            print(msgspec.json.encode(row).decode())
    elif not rows:
        print("no crawls here: none in .crawler/, and frontier.url names no server that has any")
    else:
        head = ("name", "phase", "pages", "items", "ready", "dead", "size")
        print(
            table(head, [[size(row[k]) if k == "size" and k in row else row.get(k, "-") for k in head] for row in rows])
        )
        for row in rows:
            if "error" in row:
                print(f"{row['name']}: {row['error']}", file=sys.stderr)
    return 0


def _places(settings: Settings) -> list[str]:
    """The states of the folder, and of the server if the settings name one."""
    from crawler import home

    places = [str(path) for path in state.states()]
    if home.is_redis(settings.frontier.url):
        places += [f"{home.SERVER}{name}" for name in home.server_crawls(settings)]
    return places


def _row(settings: Settings, place: str) -> dict[str, Any]:
    """One crawl in numbers; one that cannot be read says why."""
    from crawler import app, home
    from crawler.cli.status import phase

    row: dict[str, Any] = {"name": _name(place), "state": place}
    if not home.on_server(place):
        row["size"] = Path(place).stat().st_size
    try:
        with app.open_frontier(settings, place, name=_name(place)) as frontier:
            counts = frontier.counts()
            row["phase"] = phase(
                frontier.record(), frontier.finished(), counts, running=home.is_running(settings, place)
            )
            row |= {key: getattr(counts, key) for key in ("pages", "items", "ready", "delayed", "leased", "dead")}
    except (SettingsError, BackendError) as error:
        row |= {"phase": "unreadable", "error": str(error)}
    return row


def pause(arguments: argparse.Namespace) -> int:
    return _set_paused(arguments, paused=True)


def resume(arguments: argparse.Namespace) -> int:
    return _set_paused(arguments, paused=False)


def _set_paused(arguments: argparse.Namespace, *, paused: bool) -> int:
    from crawler import app

    settings = option.load(arguments)
    for place in [state.resolve(settings, name) for name in arguments.names]:
        with app.open_frontier(settings, place) as frontier:
            was = frontier.record().paused
            name = frontier.update_record(paused=paused).name
        print(f"{name}: {'already ' if was is paused else ''}{'paused' if paused else 'not paused'}")
    return 0


def rm(arguments: argparse.Namespace) -> int:
    from crawler import home, plan
    from pipelines import output

    settings = option.load(arguments)
    for place in [state.resolve(settings, name) for name in arguments.names]:
        name, outputs = _name(place), _outputs(settings, place)
        going = {pipeline: path for pipeline, path in outputs.items() if arguments.outputs and output.exists(path)}
        if home.is_running(settings, place):
            raise SettingsError(f"{name} is running: stop it first (Ctrl-C in its terminal, or kill its process)")
        if not arguments.yes and not _confirmed(place, going.values()):
            print(f"{name}: kept")
            continue
        home.remove(settings, place)
        plan.remove_outputs(going)
        left = [path for pipeline, path in outputs.items() if pipeline not in going and output.exists(path)]
        print(f"{name}: removed" + (f"; results kept: {', '.join(left)}" if left else ""))
    return 0


def _name(place: str) -> str:
    from crawler import home

    return home.named(place) if home.on_server(place) else Path(place).stem


def _outputs(settings: Settings, place: str) -> dict[str, str]:
    """Where a crawl writes to; nothing known when its state cannot be read, which must not keep it from going."""
    from crawler import app

    try:
        with app.open_frontier(settings, place) as frontier:
            return frontier.record().outputs
    except (SettingsError, BadRecord):
        return {}


def _confirmed(place: str, outputs: Iterable[str]) -> bool:
    return option.confirmed(f"Remove {', '.join([place, *outputs])}?", f"rm {place}")
