"""A Redis for the frontier's contract: one private server for all tests of a process, a crawl of its own for each."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

from crawler.frontier.redis import RedisFrontier
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.wire import connect
from crawler.model import Rules
from crawler.tables import RedisTable
from tests.servers.redis import RedisServer

_numbers = itertools.count(1)
_names: dict[Path, str] = {}


@cache
def shared_server() -> RedisServer:
    """Started when first asked for; ends with the process."""
    server = RedisServer({"appendfsync": "no"}).start()
    atexit.register(server.stop)
    return server


def open_redis(folder: Path, rules: Rules, clock: Callable[[], int] | None, *, shards: int = 0) -> RedisFrontier:
    """The same folder is the same crawl."""
    name = _names.setdefault(folder, f"crawl{next(_numbers)}")
    table = RedisTable()
    wire = connect(parse(shared_server().url, table), table)
    return RedisFrontier(wire, rules, name=name, shards=shards, clock=clock)
