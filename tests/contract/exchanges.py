"""Every exchange adapter, ready for the contract: each with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from crawler.exchange import Exchange
from crawler.exchange.memory import MemoryExchange
from crawler.exchange.sqlite import SqliteExchange
from crawler.model import LOG_KIND, Done, Message, Outcome, Record, Settlement
from tests.contract.rabbit_exchange import rabbit

LEASE_MS = 60_000


class Clock:
    """Milliseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1_000)


def memory(folder: Path, **options: Any) -> MemoryExchange:
    return MemoryExchange(**options)


def sqlite(folder: Path, **options: Any) -> SqliteExchange:
    return SqliteExchange(folder / "state.db", **options)


Make = Callable[..., AbstractContextManager[Exchange]]

ADAPTERS: dict[str, Make] = {
    "memory": memory,
    "sqlite": sqlite,
    "rabbit": rabbit,
    "rabbit-classic": partial(rabbit, queues="classic"),
}


def message(id: str, kind: str = "page", *, text: str = "") -> Message:
    return Message(
        id=id,
        kind=kind,
        url=f"https://example.com/{id}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="test",
        records=(Record(f"{id}-0", msgspec.Raw(msgspec.json.encode({"id": id, "text": text}))),),
    )


def log(id: str) -> Message:
    return message(id, LOG_KIND)


_numbers: Iterator[int] = count(1)


def request_id() -> str:
    return f"{next(_numbers):032x}"


def take(exchange: Exchange, queue: str = "a", count: int = 100, consumer: str = "c1") -> list[str]:
    """Message ids of a lease."""
    return [one.message.id for one in exchange.lease(queue, count, consumer=consumer, request_id=request_id())]


def end(exchange: Exchange, tokens: list[str], outcome: Outcome | None = None) -> tuple[str, ...]:
    return exchange.settle([Settlement(token, outcome or Done()) for token in tokens])


def keep_asking(exchange: Exchange, clock: Clock, seconds: float, queue: str = "idle") -> None:
    """Let time pass for a store that is in use: asked often enough that no silence is noticed."""
    while seconds > 0:
        step = min(seconds, LEASE_MS / 1_000 / 4)
        clock.forward(step)
        exchange.renew(["nobody:0"])
        seconds -= step
