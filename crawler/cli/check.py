"""`crawler check`: everything that can be checked before a crawl starts, one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.text import printable
from crawler.error import BackendError, SettingsError

if TYPE_CHECKING:
    from crawler.settings import Settings

EXAMPLES = """\
  crawler check --settings shop.toml                   settings, spider, pipelines and state of a crawl
  crawler check --spider shop.py:Shop                  does this spider import?
  crawler check --state quotes.db                      can this version go on with that crawl?

Exit code 0 when all is well, 2 when something must be put right, 3 when a server or disk does not answer.
"""

Check = tuple[str, Callable[[], str]]
"""What is checked, and a function that says what was found or raises SettingsError or BackendError."""


def add(commands: option.Commands) -> None:
    text = "check settings, spider, pipelines and state without crawling"
    parser = option.command(commands, "check", run, text, EXAMPLES)
    option.add_crawl(parser)
    option.add_state(parser, "state file to check; default: the one the settings name, if any")
    option.add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        settings = option.load(arguments)
    except SettingsError as error:
        _line("FAIL", "settings", str(error))
        return 2
    _line("ok", "settings", arguments.settings or "defaults")
    codes = [_run(name, check) for name, check in _checks(settings, arguments.state)]
    return max((code for code in codes if code), key=lambda code: code == 2, default=0)


def _run(name: str, check: Callable[[], str]) -> int:
    try:
        _line("ok", name, check())
    except SettingsError as error:
        _line("FAIL", name, str(error))
        return 2
    except BackendError as error:
        _line("FAIL", name, str(error))
        return 3
    return 0


def _line(verdict: str, name: str, found: str) -> None:
    print(f"{verdict:<5} {name:<12} {printable(found)}")


def _checks(settings: Settings, given: str | None) -> Iterator[Check]:
    yield "spider", lambda: _spider(settings)
    for name in settings.pipelines:
        yield f"pipeline {name}", lambda name=name: _pipeline(settings, name)  # type: ignore[misc]
    usual = type(settings)()
    tls, usual_tls = ((one.fetch.verify, one.fetch.ca_file) for one in (settings, usual))
    if (settings.guard, settings.session, tls) != (usual.guard, usual.session, usual_tls):
        yield "network", lambda: _network(settings)
    if settings.exchange.url:
        yield "exchange", lambda: _exchange(settings)
    yield "state", lambda: _state(settings, given)


def _spider(settings: Settings) -> str:
    from crawler import app

    kind = app.load_spider(settings)
    app.make_spider(kind, settings.spider)
    hosts = ", ".join(sorted(settings.crawl.hosts or kind.hosts)) or "the seeds'"
    return f"{settings.crawl.spider}: {kind.name}, hosts: {hosts}"


def _exchange(settings: Settings) -> str:
    from crawler import app

    return app.check_exchange(settings)


def _network(settings: Settings) -> str:
    """Guard, sessions, proxies and TLS; nothing is connected to."""
    from crawler import app

    for warning in app.check_web(settings):
        print(f"warning: {warning}", file=sys.stderr)
    guard, session = settings.guard, app.make_session(settings)
    parts = [f"guard {'on' if guard.enabled else 'off'}", *(f"open: {one}" for one in guard.allow)]
    parts += [f"cookies {settings.session.cookies}", *(f"headers for {one}" for one in session.headers)]
    return ", ".join([*parts, *(f"proxy {one}" for one in session.proxies)])


def _pipeline(settings: Settings, name: str) -> str:
    """Import the class and look at its path; it is not made, since that would open its files."""
    from crawler import app

    pipeline = settings.pipelines[name]
    kind = app.check_pipeline(name, pipeline)
    if not callable(getattr(kind, "store", None)):
        raise SettingsError(f"{pipeline.use} has no method store(messages)")
    path = pipeline.arguments.get("path")
    if isinstance(path, str):
        writable(Path(path))
    return f"{pipeline.use}" + (f" -> {path}" if path else "")


def writable(path: Path) -> None:
    """Raises SettingsError unless a file could be written here. Creates nothing."""
    if path.is_dir():
        raise SettingsError(f"{path} is a folder: name a file in it")
    if path.exists():
        if not os.access(path, os.W_OK):
            raise SettingsError(f"{path} is not writable for this user")
        return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{path}: cannot be created, since {folder} is not a writable folder")


def _server(settings: Settings, given: str | None) -> str:
    """The server as it is; nothing is created there."""
    from crawler import home

    warnings = home.check_server(settings, home.state_of(settings, "", given))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    names = ", ".join(home.server_crawls(settings)) or "none yet"
    return f"Redis answers; crawls: {names}"


def _state(settings: Settings, given: str | None) -> str:
    """Open the frontier and the exchange if they exist; a check creates nothing."""
    from crawler import app, home
    from crawler.cli import state

    if home.is_redis(settings.frontier.url):
        return _server(settings, given)
    if not given and not settings.frontier.url:
        return "none yet: .crawler/<first host>.db"
    place = home.state_of(settings, "", given)
    if place == home.MEMORY:
        return "memory: nothing is kept"
    if not Path(place).exists() and not given:
        writable(Path(place))
        return f"{place}: not there yet, can be created"
    place = state.resolve(settings, given)
    with app.open_frontier(settings, place) as frontier, app.open_exchange(settings, place):
        counts = frontier.counts()
        return f"{place}: crawl {frontier.record().name}, {counts.pages} pages done, {counts.ready} ready"
