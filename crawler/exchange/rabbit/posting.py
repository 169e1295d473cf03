"""A message on its way to the broker, and a message of the broker in this process's hands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import pika  # type: ignore[import-untyped]

from crawler.model import Message

PERSISTENT: Final = 2
NS_IN_MS: Final = 1_000_000
NUMBER_MAX: Final = 1 << 62
"""Of a header: one more can still be written (AMQP 0-9-1: signed 64 bits)."""
REASON_CHARS_MAX: Final = 1_000
DETAIL_CHARS_MAX: Final = 16_000
"""Of a dead letter; its headers must fit into one frame (131,072 bytes), else the broker closes the connection."""

Source = Literal["main", "suspects", "delayed"]


class Posting:
    """What is published, and how far it is. Not a struct: its state changes, a thousand times a second."""

    __slots__ = ("batch", "body", "exchange", "key", "mandatory", "properties", "state")

    def __init__(self, exchange: str, key: str, properties: Any, body: bytes, *, mandatory: bool = False) -> None:
        """`mandatory`: it must reach a queue; for those that are addressed themselves."""
        self.exchange = exchange
        self.key = key
        self.properties = properties
        self.body = body
        self.mandatory = mandatory
        self.state: Literal["waiting", "sent", "safe", "full", "gone"] = "waiting"
        """`full`: a queue refused it; `gone`: there is no such queue, or it cannot be written."""
        self.batch: Any = None


class Card(msgspec.Struct, order=True):
    """A delivery in this process's hands, not acknowledged; in order of publication."""

    number: int
    """When it was published, in ms times a million, and counted: the order of delivery."""
    id: str
    tag: int
    """Of the channel through which it came."""
    source: Source = "main"
    attempts: int = 0
    crashes: int = 0
    since_ms: int = 0
    """Of a suspect: since when it is one."""
    due_ms: int = 0
    """Of a delayed one."""
    redelivered: bool = False
    again: bool = False
    """Put into the main queue on purpose, not published by a worker: never a duplicate."""
    kind: str = ""
    body: bytes = b""


class Numbers:
    """Numbers that rise, across processes by their clocks."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now_ms: int) -> int:
        self._last = max(self._last + 1, now_ms * NS_IN_MS)
        return self._last


def properties(message: Message, number: int) -> Any:
    """Of a message as a worker publishes it: what any consumer, in any language, may want to look at first."""
    return pika.BasicProperties(
        content_type="application/octet-stream" if message.blob else "application/json",
        delivery_mode=PERSISTENT,
        message_id=message.id,
        type=message.kind,
        timestamp=number // (1_000 * NS_IN_MS),
        headers={"number": number},
    )


def moved(card: Card, **headers: Any) -> Any:
    """Properties of a card that goes into another queue. Headers that are 0 or empty are left out."""
    told = {"number": card.number, "attempts": card.attempts, "crashes": card.crashes, **headers}
    return pika.BasicProperties(
        content_type="application/octet-stream" if card.body[:1] == b"\x01" else "application/json",
        delivery_mode=PERSISTENT,
        message_id=card.id,
        type=card.kind,
        timestamp=card.number // (1_000 * NS_IN_MS),
        headers={name: value for name, value in told.items() if value},
    )


def why_dead(reason: str, detail: str) -> dict[str, str]:
    """Headers of a dead letter: the beginnings; what UTF-8 has no bytes for (a single surrogate) as an escape."""
    cut = {"reason": reason[:REASON_CHARS_MAX], "detail": detail[:DETAIL_CHARS_MAX]}
    return {name: text.encode(errors="backslashreplace").decode() for name, text in cut.items()}


def card_of(method: Any, given: Any, body: bytes, source: Source, now_ms: int) -> Card:
    """What was delivered. One that somebody else published may lack what ours have, or have it in a form that could
    not be compared or written again (pika gives bytes for what is no UTF-8): that is as if it were not there."""
    told = given.headers or {}
    tag = method.delivery_tag
    id = _text(given.message_id) or f"unnamed {os.urandom(8).hex()}"
    number = _number(told, "number") or now_ms * NS_IN_MS
    if len(told) == 1:  # as a worker published it
        return Card(number, id, tag, source, redelivered=method.redelivered, kind=_text(given.type), body=body)
    return Card(
        number,
        id,
        tag,
        source,
        attempts=_number(told, "attempts"),
        crashes=_number(told, "crashes"),
        since_ms=_number(told, "since_ms"),
        due_ms=_number(told, "due_ms"),
        redelivered=method.redelivered,
        again=bool(told.get("again")),
        kind=_text(given.type),
        body=body,
    )


def _number(headers: dict[str, Any], name: str) -> int:
    value = headers.get(name, 0)
    return min(max(value, 0), NUMBER_MAX) if isinstance(value, int) else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def runs(tags: list[int], outstanding: dict[int, float]) -> Iterator[tuple[int, bool]]:
    """How to acknowledge `tags` in as few frames as possible: (tag, multiple). `outstanding`: all tags of the channel
    that are not acknowledged, oldest first, and when they came; those of `tags` are taken out."""
    wanted = set(tags)
    last = 0
    for tag in outstanding:
        if tag not in wanted:
            break
        last = tag
        wanted.discard(tag)
    if last:
        for tag in [tag for tag in tags if tag <= last]:
            outstanding.pop(tag, None)
        yield last, True
    for tag in sorted(wanted):
        if outstanding.pop(tag, None) is not None:
            yield tag, False
