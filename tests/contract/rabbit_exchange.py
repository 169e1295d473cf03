"""A RabbitMQ for the exchange's contract: one private broker for all tests of a process, a crawl of its own each."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.tables import RabbitTable
from tests.servers.rabbit import RabbitServer

_numbers = itertools.count(1)
_names: dict[Path, str] = {}


@cache
def shared_broker() -> RabbitServer:
    """Started when first asked for; ends with the process."""
    server = RabbitServer().start()
    atexit.register(server.stop)
    return server


def open_rabbit(folder: Path, *, table: RabbitTable = RabbitTable(), **options: Any) -> RabbitExchange:  # noqa: B008
    """The same folder is the same crawl."""
    name = _names.setdefault(folder, f"crawl{next(_numbers)}")
    return RabbitExchange(parse(shared_broker().url, table), table, name=name, **options)


@contextmanager
def rabbit(folder: Path, *, queues: str = "quorum", **options: Any) -> Iterator[RabbitExchange]:
    """With nothing left on the broker afterwards."""
    table = RabbitTable(queues=queues)  # type: ignore[arg-type]
    with open_rabbit(folder, table=table, **options) as exchange:
        try:
            yield exchange
        finally:
            exchange.remove()
