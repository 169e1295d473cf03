"""Traps: sites that make ever more URLs without ever more content. Decisions apart from any I/O; one worker's memory.

A page brings something new when its text is new among those of its shape (`crawler.shape`), or the set of other pages
that it links to. Of a shape each page that brings nothing new takes one from its budget, each that does gives back; a
shape without budget is refused before it is fetched. What counts as new depends on the kind:

- plain: the text as it is, or the links to other shapes. A shop may so have any number of items.
- calendar: the text without words that have digits, or the links to what is no calendar; far in the future or the past
  only those links.
- session, token: one page under many ids: its text without words that have digits (without the token), or the pages
  that it links to, whatever the ids there.

Beside this, path segments that repeat are refused at once. Seeds are never refused. Workers share nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from crawler.error import SettingsError
from crawler.shape import Kind, Shape, repeats, shape_of
from crawler.tables_web import TrapsTable

MARKS_MAX: Final = 4_096
"""Texts and sets of links that are remembered of a shape."""
TRUST_AFTER: Final = 64
"""After so many new ones in a row, a plain shape is only sampled."""
SAMPLE_EVERY: Final = 8

_WORD: Final = re.compile(r"[^\W_]+")


class Sight(NamedTuple):
    """What was seen of a URL before it is fetched."""

    shape: Shape | None = None
    refusal: str = ""
    """Why it is a trap; empty when it is none."""


_NOTHING: Final = Sight()


class _State:
    """What is known of a shape."""

    __slots__ = ("links", "row", "spent", "texts", "turn")

    def __init__(self) -> None:
        self.texts: set[int] = set()
        self.links: set[int] = set()
        self.spent = 0
        self.row = 0
        """New ones in a row."""
        self.turn = 0


class Traps:
    """One worker's. Not thread-safe."""

    def __init__(self, table: TrapsTable, year: int) -> None:
        """`year`: now. Raises SettingsError for a pattern that is none."""
        self._table = table
        self._year = year
        self._states: dict[str, _State] = {}
        try:
            self._allow = [re.compile(pattern) for pattern in table.allow]
        except re.error as error:
            raise SettingsError(f"[traps] allow: not a regular expression: {error}") from None

    def judge(self, url: str, *, depth: int) -> Sight:
        """Before a page is fetched. `url` is canonical. Cost: 0.7 µs, with digits in the URL 6 µs."""
        if not self._table.enabled:
            return _NOTHING
        shape = shape_of(url, self._year)
        if depth == 0:
            return Sight(shape)
        state = self._states.get(shape.key) if shape is not None else None
        refusal = self._spent(shape, state) if shape is not None and state is not None else ""
        if not refusal and (again := repeats(url, self._table.repeats_max)):
            refusal = f"repeats: {again} stands in its path more than {self._table.repeats_max} times in a row"
        if refusal and any(pattern.search(url[url.index("/", 8) :]) for pattern in self._allow):
            return Sight(shape)
        return Sight(shape, refusal)

    def saw(self, sight: Sight, text: Callable[[], str], links: Iterable[str]) -> None:
        """After a page was parsed. `text`: what a reader sees; `links`: canonical URLs. Cost: that of `text`, and 10 µs
        for a plain shape; nothing without a shape, and seven times in eight when it brought new ones all along."""
        shape = sight.shape
        if shape is None:
            return
        state = self._state(shape.key)
        state.turn += 1
        if shape.kind == "plain" and state.row >= TRUST_AFTER and state.turn % SAMPLE_EVERY:
            return
        if self._is_new(shape, state, text(), links):
            state.row += 1
            state.spent = max(0, state.spent - 1)
        else:
            state.row = 0
            state.spent += 1

    def _spent(self, shape: Shape, state: _State) -> str:
        budget, key = self._budget(shape.kind)
        if state.spent < budget:
            return ""
        return (
            f"{shape.kind}: {state.spent} more of the shape {shape.key} brought nothing new than did; "
            f"its budget is {budget} (traps.{key})"
        )

    def _budget(self, kind: Kind) -> tuple[int, str]:
        if kind == "plain":
            return self._table.budget_max, "budget_max"
        if kind == "calendar":
            return self._table.calendar_budget_max, "calendar_budget_max"
        return self._table.session_budget_max, "session_budget_max"

    def _state(self, key: str) -> _State:
        """The last used are the last to go."""
        state = self._states.pop(key, None) or _State()
        if len(self._states) >= self._table.shapes_max:
            del self._states[next(iter(self._states))]
        self._states[key] = state
        return state

    def _is_new(self, shape: Shape, state: _State, text: str, links: Iterable[str]) -> bool:
        mark = _text_mark(shape, text)
        known = mark in state.texts
        _remember(state.texts, mark)
        if not known and not shape.far:
            return True
        mark = hash(frozenset(self._others(shape, links)))
        known = mark in state.links
        _remember(state.links, mark)
        return not known

    def _others(self, shape: Shape, links: Iterable[str]) -> Iterable[str]:
        """The pages that are linked to, as far as they count for a page of this shape."""
        for url in links:
            other = shape_of(url, self._year)
            if other is None:
                yield url
            elif shape.kind in ("session", "token"):
                yield other.key if other.kind in ("session", "token") else url
            elif other.key != shape.key and not (shape.kind == other.kind == "calendar"):
                yield other.key if other.kind == "session" else url


def _text_mark(shape: Shape, text: str) -> int:
    for token in shape.tokens:
        text = text.replace(token, "")
    if shape.kind in ("calendar", "session"):
        return hash(tuple(filter(str.isalpha, _WORD.findall(text))))
    return hash(text)


def _remember(marks: set[int], mark: int) -> None:
    if len(marks) >= MARKS_MAX:
        marks.clear()
    marks.add(mark)
