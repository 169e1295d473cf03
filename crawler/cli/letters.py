"""The dead letters that a command means: pages of a frontier or messages of an exchange, narrowed the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple, Self

from crawler.error import BadUrl, SettingsError
from crawler.exchange import Exchange
from crawler.frontier import Frontier
from crawler.model import DeadItem, DeadLetter, Request
from crawler.url import canonical, host
from crawler.urlform import Form

PAGE = 1000
"""Dead letters read at a time."""


class Narrow(NamedTuple):
    """Which dead letters are meant; what is empty narrows nothing."""

    which: frozenset[str] = frozenset()
    """URLs, fingerprints, ids; see `wanted`."""
    reason: str | None = None
    host: str | None = None
    queue: str | None = None
    limit: int = 0


class Letter(NamedTuple):
    """A dead page or message, as it is shown."""

    value: DeadLetter | DeadItem
    url: str
    queue: str
    """Empty for a page."""
    facts: tuple[tuple[str, object], ...]
    """What only pages or only messages have."""


class Pages:
    """Dead pages of a frontier, which is closed at the end."""

    noun = "page"

    def __init__(self, frontier: Frontier, narrow: Narrow) -> None:
        self._frontier = frontier
        self._narrow = narrow
        self._which = narrow.which

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._frontier.close()

    def found(self) -> Iterator[Letter]:
        """Cost: one trip for every `PAGE` dead pages with the reason and host."""
        return map(_page_letter, self._letters())

    def _letters(self) -> Iterator[DeadLetter]:
        for after in count(0, PAGE):
            page = self._frontier.dead(reason=self._narrow.reason, host=self._narrow.host, limit=PAGE, after=after)
            for letter in page:
                names = {letter.request.url, _hex(letter.fingerprint), str(letter.fingerprint)}
                if not self._which or self._which & names:
                    yield letter
            if len(page) < PAGE:
                return

    def kick(self) -> int:
        return self._apply(self._frontier.kick)

    def drop(self) -> int:
        return self._apply(self._frontier.drop)

    def _apply(self, verb: Callable[..., int]) -> int:
        narrow = self._narrow
        if not narrow.which and not narrow.limit:
            return verb(reason=narrow.reason, host=narrow.host)
        letters = list(islice(self._letters(), narrow.limit or None))
        return sum(verb(fingerprint=letter.fingerprint) for letter in letters)


class Items:
    """Dead messages of an exchange, which is closed at the end."""

    noun = "item message"

    def __init__(self, exchange: Exchange, narrow: Narrow) -> None:
        self._exchange = exchange
        self._narrow = narrow
        self._which = narrow.which

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._exchange.close()

    def found(self) -> Iterator[Letter]:
        """Cost: one trip for every `PAGE` dead messages with the queue and reason."""
        return map(_item_letter, self._letters())

    def _letters(self) -> Iterator[DeadItem]:
        for after in count(0, PAGE):
            page = self._exchange.dead(queue=self._narrow.queue, reason=self._narrow.reason, limit=PAGE, after=after)
            yield from (item for item in page if self._matches(item))
            if len(page) < PAGE:
                return

    def _matches(self, item: DeadItem) -> bool:
        message = item.message
        if self._narrow.host and host(message.url) != self._narrow.host:
            return False
        return not self._which or bool(self._which & {message.id, message.url, *(r.id for r in message.records)})

    def kick(self) -> int:
        return self._apply(self._exchange.kick)

    def drop(self) -> int:
        return self._apply(self._exchange.drop)

    def _apply(self, verb: Callable[..., int]) -> int:
        narrow = self._narrow
        if not narrow.which and not narrow.limit and not narrow.host:
            return verb(queue=narrow.queue, reason=narrow.reason)
        items = list(islice(self._letters(), narrow.limit or None))
        return sum(verb(queue=item.queue, id=item.message.id) for item in items)


def _page_letter(letter: DeadLetter) -> Letter:
    request, blank = letter.request, Request(url="")
    fields = ((name, getattr(request, name)) for name in Request.__struct_fields__ if name != "url")
    said = tuple((name, value) for name, value in fields if value != getattr(blank, name))
    return Letter(letter, request.url, "", (("fingerprint", _hex(letter.fingerprint)), ("host", letter.host), *said))


def _item_letter(item: DeadItem) -> Letter:
    message = item.message
    facts = (
        ("id", message.id),
        ("queue", item.queue),
        ("kind", message.kind),
        ("spider", message.spider),
        ("fetched", message.fetched_at),
        *(("item", bytes(record.data).decode()) for record in message.records),
    )
    return Letter(item, message.url, item.queue, facts)


def wanted(which: Sequence[str], form: Form) -> frozenset[str]:
    """What was asked for: URLs canonical, in the crawl's form, and as they are where a server wants them so."""
    found = set()
    for text in which:
        if not is_url(text):
            found.add(text.lower())
            continue
        try:
            url = canonical(text)
        except BadUrl as error:
            raise SettingsError(f"not a URL to look for: {error}") from None
        found |= {url, form.of(url)}
    return frozenset(found)


def is_url(text: str) -> bool:
    """Not a fingerprint or id."""
    return "://" in text


def _hex(fingerprint: int) -> str:
    return f"{fingerprint & 0xFFFF_FFFF_FFFF_FFFF:016x}"
