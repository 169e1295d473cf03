"""What a running crawl shows: a live view on a terminal, a plain line every few seconds in a pipe, or nothing.

Progress goes to stderr, so that stdout carries only results. A reader that goes away never ends a crawl.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol, TextIO

from crawler.cli.gauge import Speed, line

if TYPE_CHECKING:
    from crawler.report import Snapshot

LINE_EVERY_S = 5.0
"""Time between two plain lines."""


class Progress(Protocol):
    def tick(self, snapshot: Snapshot) -> None:
        """Called some times a second. Never raises for a stream that is gone."""

    def say(self, text: str) -> None:
        """A line that stays, as from a log."""

    def close(self) -> None:
        """Last words; nothing is shown afterwards. Called once, also after an error."""


def choose(*, title: str, quiet: bool, stream: TextIO) -> Progress:
    """The view that fits: nothing if quiet, live on a terminal, else plain lines."""
    if quiet:
        return Quiet(stream)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from crawler.cli.live import Live

        return Live(title, stream)
    return Lines(stream)


class Quiet:
    """Shows nothing but what must be said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tick(self, snapshot: Snapshot) -> None:
        return

    def say(self, text: str) -> None:
        _print(text, self._stream)

    def close(self) -> None:
        return


class Lines:
    """One plain line every `LINE_EVERY_S`, and one at the end."""

    def __init__(self, stream: TextIO, every_s: float = LINE_EVERY_S) -> None:
        self._stream = stream
        self._every_s = every_s
        self._shown_s = 0.0
        self._speed = Speed()
        self._last: Snapshot | None = None

    def tick(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        self._speed.note(snapshot.seconds, snapshot.counts.pages)
        if snapshot.seconds - self._shown_s >= self._every_s:
            self._shown_s = snapshot.seconds
            self._print(snapshot)

    def close(self) -> None:
        if self._last is not None:
            self._print(self._last)
            self._last = None

    def say(self, text: str) -> None:
        _print(text, self._stream)

    def _print(self, snapshot: Snapshot) -> None:
        _print(line(snapshot, self._speed.per_second()), self._stream)


def _print(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # the reader is gone: the crawl goes on
        print(text, file=stream, flush=True)
