"""Which queues get a message: pure decisions, the same for every adapter.

Source: AMQP 0-9-1 §3.1.3 (direct, fanout and topic exchanges), with the project's own rules for `log` messages and raw
pages (`crawler/exchange/__init__.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from crawler.exchange import HISTORY
from crawler.model import LOG_KIND, RAW_KIND

ExchangeType = Literal["fanout", "direct", "topic"]

ROUTES_MAX = 1_000
"""Kinds whose queues a `Router` remembers; a spider that invents kinds must not fill the memory."""


def matches(pattern: str, kind: str) -> bool:
    """Whether a topic pattern takes a kind. Words are separated by `.`; `*` is one word, `#` any number, also none.

    Cost: words of the pattern times words of the kind, whatever the number of `#`."""
    words = kind.split(".") if kind else []
    reached = {0}  # how many words the pattern's parts so far may have eaten
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            reached = set(range(min(reached), len(words) + 1))
        else:
            reached = {eaten + 1 for eaten in reached if eaten < len(words) and part in ("*", words[eaten])}
        if not reached:
            return False
    return len(words) in reached


def targets(exchange_type: ExchangeType, queues: Mapping[str, Iterable[str]], kind: str) -> tuple[str, ...]:
    """Names of the queues (name -> bind) that get a message of this kind, in the order given."""
    if kind == LOG_KIND:
        return tuple(name for name in queues if name == HISTORY)
    if kind == RAW_KIND:
        return tuple(name for name, bind in queues.items() if is_raw(bind))
    others = [(name, tuple(bind)) for name, bind in queues.items() if name != HISTORY and not is_raw(bind)]
    if exchange_type == "direct":
        return tuple(name for name, bind in others if kind in bind)
    if exchange_type == "topic":
        return tuple(name for name, bind in others if any(matches(pattern, kind) for pattern in bind))
    return tuple(name for name, _ in others)


def is_raw(bind: Iterable[str]) -> bool:
    """Whether a queue takes whole pages, and so nothing else."""
    return RAW_KIND in tuple(bind)


class Router:
    """`targets` for one set of queues, remembered by kind."""

    def __init__(self, exchange_type: ExchangeType, queues: Mapping[str, Iterable[str]]) -> None:
        self._type = exchange_type
        self._queues = dict(queues)
        self._routes: dict[str, tuple[str, ...]] = {}

    def targets(self, kind: str) -> tuple[str, ...]:
        """Cost: one look-up for a kind seen before."""
        found = self._routes.get(kind)
        if found is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            found = self._routes[kind] = targets(self._type, self._queues, kind)
        return found
