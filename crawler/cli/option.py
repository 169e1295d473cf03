"""Options that several commands share. A flag that stands for a setting only writes `table.key=value`, as `--set` does,
so that everything is checked in one place and the last one given wins."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO, TypeAlias

from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.settings import Settings

STATE_HELP = "the crawl: its state file, or its name in .crawler; default: the only one there"


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What commands are added to; argparse has no public name for it."""


def command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A command with its one-line purpose and worked examples. Flags are not abbreviated: scripts depend on them."""
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def number(text: str) -> str:
    """A check for argparse: a finite number of at least 0, as TOML."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more: {text}")
    return repr(value)


def whole(least: int = 0) -> Callable[[str], int]:
    """A check for argparse: a whole number of at least `least`."""

    def check(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}: {text}")
        return value

    return check


def host(text: str) -> str:
    """A check for argparse: a host as the frontier names it, given as such or as a URL of it."""
    from crawler.error import BadUrl
    from crawler.url import canonical
    from crawler.url import host as host_of

    try:
        if any(char in text for char in "/\\?#@") and "://" not in text:
            raise BadUrl("not_a_url", text)
        return host_of(canonical(text if "://" in text else f"http://{text}/"))
    except BadUrl:
        raise argparse.ArgumentTypeError(f"not a host, as example.org or example.org:8080: {text!r}") from None


def quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def add_setting(
    parser: argparse._ActionsContainer, *flags: str, key: str, metavar: str, text: str, check: Callable[[str], object]
) -> None:
    """A flag that is sugar for one setting: it appends `key=value` to `arguments.overrides`."""
    parser.add_argument(
        *flags,
        dest="overrides",
        action="append",
        metavar=metavar,
        type=lambda given: f"{key}={check(given)}",
        help=f"{text} [{key}]",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`--settings FILE` and `--set table.key=value`."""
    parser.set_defaults(overrides=[])
    group = parser.add_argument_group("settings")
    group.add_argument("--settings", metavar="FILE", help="settings file (TOML); default: each setting's own default")
    group.add_argument(
        "--set",
        dest="overrides",
        action="append",
        metavar="TABLE.KEY=VALUE",
        help="one setting, may be repeated; wins over the file and over CRAWLER__TABLE__KEY in the environment",
    )


def add_state(parser: argparse.ArgumentParser, text: str = STATE_HELP) -> None:
    parser.add_argument("--state", metavar="FILE", help=text)


def add_workers(parser: argparse.ArgumentParser, *flags: str) -> None:
    text = "worker processes; default 2"
    add_setting(parser, *flags, key="worker.processes", metavar="N", text=text, check=whole(1))


def add_spider(parser: argparse.ArgumentParser) -> None:
    text = "module:Class or path/file.py:Class; default: one item per page"
    add_setting(parser, "--spider", key="crawl.spider", metavar="X", text=text, check=quoted)


def add_crawl(parser: argparse.ArgumentParser) -> None:
    """What is crawled and how fast."""
    add_spider(parser)
    group = parser.add_argument_group("politeness and limits", "A setting's name stands in brackets; 0 is no limit.")
    rows: tuple[tuple[str, str, str, str, Callable[[str], object]], ...] = (
        ("--delay", "politeness.delay_s", "S", "seconds between two requests to a host; default 1", number),
        ("--per-host", "politeness.per_host", "N", "requests in flight per host at delay 0; default 1", whole()),
        ("--depth", "crawl.depth_max", "N", "links followed from a seed", whole()),
        ("--max-pages", "crawl.pages_max", "N", "stop after so many pages", whole()),
        ("--max-time", "crawl.time_max_s", "S", "stop after so many seconds", number),
        ("--max-bytes", "crawl.bytes_max", "N", "stop after so many bytes of pages", whole()),
    )
    for flag, key, metavar, text, check in rows:
        add_setting(group, flag, key=key, metavar=metavar, text=text, check=check)


def load(arguments: argparse.Namespace) -> Settings:
    """The settings of this command line. Raises SettingsError."""
    from crawler import settings

    return settings.load(arguments.settings, overrides=arguments.overrides, environ=os.environ)


def confirmed(question: str, command: str) -> bool:
    """Ask on the terminal. Raises SettingsError without one: there is nobody to ask, and nothing is done."""
    if not sys.stdin.isatty():
        raise SettingsError(f"{command}: say --yes, since there is no terminal to ask on")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def columns() -> int:
    """Width of the terminal; 120 when standard output is none."""
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120


def mute(stream: TextIO) -> None:
    """Nobody reads this stream any more: send what is still buffered to nowhere, so that the end is quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
