"""Where a crawl lives: in a file of this machine, on a server that many machines share, or in memory.

A state is `memory:`, the path of a SQLite file, or `redis:NAME`, a crawl on the server that `frontier.url` names. So a
state can be shown: the URL, which may hold a password, stays in the settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from crawler import plugin
from crawler.error import BackendError, CrawlError, SettingsError
from crawler.frontier import Frontier
from crawler.settings import Settings
from crawler.sqlitefile import is_state, remove_file
from crawler.workerlock import WorkerLocks, in_use

if TYPE_CHECKING:
    from crawler.exchange.rabbit import RabbitExchange
    from crawler.frontier.redis import RedisFrontier
    from crawler.frontier.redis.wire import Wire

FOLDER: Final = Path(".crawler")
"""Where crawls live that were given no state file, and what a machine keeps of a crawl on a server."""
MEMORY: Final = "memory:"
SERVER: Final = "redis:"
WORKING: Final = "work"
"""Part of the name of a worker's connections, by which other machines see that it is there."""


def on_server(state: str) -> bool:
    return state.startswith(SERVER)


def named(state: str) -> str:
    """The crawl's name on the server."""
    return state.removeprefix(SERVER)


def is_rabbit(url: str) -> bool:
    """Whether a URL names a RabbitMQ."""
    return url.partition(":")[0].lower() in ("amqp", "amqps")


def crawl_name(state: str) -> str:
    """What a crawl is called on a broker: its name on its server, or its file's without the ending."""
    return named(state) if on_server(state) else Path(state).stem


def is_redis(url: str) -> bool:
    """Whether a URL names a Redis, in any of its ways; `redis:NAME`, without slashes, is a state."""
    scheme, colon, rest = url.partition(":")
    return bool(colon) and scheme.lower().partition("+")[0] in ("redis", "rediss", "unix") and rest.startswith("//")


def state_of(settings: Settings, name: str, given: str | None) -> str:
    """`--state`, or `frontier.url`, or `.crawler/<name>.db`. Raises SettingsError for a scheme that is not built in and
    for a name that a crawl cannot have. No URL is shown: a password may stand anywhere in it."""
    url = settings.frontier.url
    if given and is_redis(given):
        raise SettingsError(
            "--state: a server's URL goes into frontier.url (settings.toml, or CRAWLER__FRONTIER__URL, or "
            "--set frontier.url=…); --state NAME then says which of its crawls"
        )
    if is_redis(url) and (not given or given.startswith(SERVER) or not _is_local(given)):
        return f"{SERVER}{_name_on_server(settings, named(given or ''), name)}"
    url = given or url
    if not url:
        if "/" in name:
            raise SettingsError(f"crawl.name {name!r}: a name, not a path; --state FILE says where the crawl lives")
        return str(FOLDER / f"{name}.db")
    if url.startswith(MEMORY):
        return MEMORY
    scheme, colon, path = url.partition(":")
    if colon and scheme == "sqlite":
        return path.removeprefix("//")
    if url.startswith(SERVER):
        if given:
            raise SettingsError("--state redis:NAME: frontier.url must name the server, as in redis://127.0.0.1:6379/0")
        raise SettingsError("frontier.url: two slashes are missing behind redis: as in redis://127.0.0.1:6379/0")
    if colon and path.startswith("//"):
        raise SettingsError(f"frontier.url: {scheme}: is not known here; use redis://…, sqlite:FILE or memory:")
    if colon and is_redis(f"{scheme}://"):
        raise SettingsError(f"frontier.url: two slashes are missing behind {scheme}:")
    return url


def _name_on_server(settings: Settings, given: str, name: str) -> str:
    """The crawl's name: as given, or behind the # of the URL, or in the settings, or else `name`. Raises SettingsError;
    '' is left to who asks which crawls there are."""
    from crawler.frontier.redis.address import split
    from crawler.frontier.redis.shards import check_name

    found = given or split(settings.frontier.url)[1] or settings.crawl.name or name
    return check_name(found) if found else ""


def _is_local(given: str) -> bool:
    return given.startswith(("sqlite:", MEMORY)) or "/" in given or given.endswith(".db")


def local(state: str) -> str:
    """The file beside which this machine keeps what belongs to the crawl: history, locks, and its own queues of items
    while the frontier is on a server."""
    return str(FOLDER / f"{named(state)}.local") if on_server(state) else state


def open_redis(settings: Settings, name: str, *, role: str = "look", begin: bool = False) -> RedisFrontier:
    """The crawl of that name; with `begin` a new one if there is none. Raises SettingsError, BackendError."""
    from crawler.frontier.redis import RedisFrontier  # only who wants it pays for it
    from crawler.frontier.redis.address import parse, split
    from crawler.frontier.redis.wire import client_name, connect

    url, _ = split(settings.frontier.url)
    wire = connect(parse(url, settings.redis), settings.redis, name=client_name(name, role))
    return RedisFrontier(wire, settings.rules(), name=name, shards=settings.frontier.shards, begin=begin)


def open_rabbit(settings: Settings, state: str) -> RabbitExchange:
    """The crawl's exchange on the broker that exchange.url names. Raises SettingsError. Connects when it is used."""
    plugin.require("exchange.url amqp:", "pika")
    from crawler.exchange.rabbit import RabbitExchange  # only who wants it pays for it
    from crawler.exchange.rabbit.address import parse

    table = settings.exchange
    return RabbitExchange(
        parse(table.url, settings.rabbit),
        settings.rabbit,
        name=crawl_name(state),
        type=table.type,
        lease_s=table.lease_s,
        crashes_max=table.crashes_max,
    )


@contextmanager
def _wire(settings: Settings, role: str = "look") -> Iterator[Wire]:
    from crawler.frontier.redis.address import parse, split
    from crawler.frontier.redis.wire import connect

    url, _ = split(settings.frontier.url)
    wire = connect(parse(url, settings.redis), settings.redis, name=f"crawler::{role}")
    try:
        yield wire
    finally:
        wire.close()


def server_crawls(settings: Settings) -> tuple[str, ...]:
    """Names of the crawls on the server, in order."""
    from crawler.frontier.redis.shards import crawls

    with _wire(settings) as wire:
        return crawls(wire)


def check_server(settings: Settings, state: str) -> tuple[str, ...]:
    """What is unwise about the server, to be told before a crawl starts; nothing for a file. Raises SettingsError for
    what cannot work."""
    if not on_server(state):
        return ()
    from crawler.frontier.redis.check import check

    with _wire(settings) as wire:
        return check(wire)


def exists(settings: Settings, state: str) -> bool:
    if on_server(state):
        return named(state) in server_crawls(settings)
    return state != MEMORY and Path(state).exists()


def is_running(settings: Settings, state: str) -> bool:
    """Whether a process works on it: here, by its OS lock, or anywhere, by its connection to the server. Reads none of
    the crawl's keys: what is damaged can be removed."""
    if in_use(f"{local(state)}-workers"):
        return True
    if not on_server(state):
        return False
    from crawler.frontier.redis import wire as wires

    with _wire(settings) as wire:
        return wires.in_use(wire, named(state), WORKING)


def remove(settings: Settings, state: str) -> None:
    """Delete a crawl's queues and history, not its outputs."""
    if is_rabbit(settings.exchange.url):
        with open_rabbit(settings, state) as exchange:
            exchange.remove()
    if on_server(state):
        from crawler.frontier.redis.shards import erase

        with _wire(settings) as wire:
            erase(wire, named(state))
    path = local(state)
    if not on_server(state) or is_state(path):
        remove_file(path)
    _remove_beside(path)


def _remove_beside(path: str) -> None:
    for beside in _beside(path):
        remove_file(beside)


def _beside(path: str) -> tuple[str, ...]:
    """The crawl's history and the keys of its processors, which may be there or not."""
    keys = Path(path).parent.glob(f"{escape(Path(path).name)}.*.keys")
    return f"{path}.history", *map(str, keys)


@contextmanager
def start(settings: Settings, state: str) -> Iterator[tuple[str, ...]]:
    """Around the beginning of a crawl: gives what of it is not there yet, the file and then the folders above it (for
    `Plan.made`), and takes that away again when this fails. Nothing where a link or a history of it is there."""
    made: tuple[str, ...] = ()
    if state != MEMORY and not on_server(state) and not any(map(os.path.lexists, (state, *_beside(state)))):
        made = (state, *(str(folder) for folder in Path(state).absolute().parents if not folder.exists()))
    try:
        yield made
    except CrawlError:
        take_back(settings, made)
        raise


def take_back(settings: Settings, made: Sequence[str], *, own: int = 0) -> None:
    """A start failed: what it made goes, unless a page was ended, somebody works on it, or it has pages but the `own`
    ones: so many that this start added, from seeds that can be read again. On servers everything stays."""
    if not made:
        return
    state, *folders = made
    with suppress(CrawlError, OSError):
        if Path(state).exists() and _is_begun(settings, state, own):
            return
        remove_file(state)
        _remove_beside(state)
        for folder in folders:
            Path(folder).rmdir()


def _is_begun(settings: Settings, state: str, own: int) -> bool:
    from crawler.frontier.sqlite import SqliteFrontier

    with SqliteFrontier(state, settings.rules()) as frontier:
        counts = frontier.counts()
    ended = counts.done + counts.dropped + counts.dead + counts.producers_open
    return bool(ended) or counts.added > own or in_use(f"{state}-workers")


@contextmanager
def presence(frontier: Frontier, state: str, worker: str) -> Iterator[None]:
    """While a worker of a crawl on a server is at work: its OS lock, as embedded frontiers hold it by themselves. Those
    of this machine that died together with all that could have noticed are forfeited first."""
    if not on_server(state):
        yield
        return
    folder = Path(f"{local(state)}-workers")
    locks = WorkerLocks(folder)
    try:
        locks.hold(worker)
        for name in locks.dead([unquote(path.name) for path in folder.iterdir()]):
            frontier.forfeit(name)
        yield
    except OSError as error:
        raise BackendError(f"{folder}: {error.strerror}") from error
    finally:
        locks.close()
