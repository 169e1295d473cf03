"""The pipeline port: a storage consumer. One class per store, each in its own file; a user's own is found by
`module:Class` or `path/file.py:Class`, and its constructor's keyword arguments come from its settings table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crawler.error import Reject, Unavailable
from crawler.model import Message

__all__ = ["Message", "Pipeline", "Reject", "Unavailable"]


class Pipeline(Protocol):
    """`close()` is optional and called once, after the last store. `writers = 1` as a class attribute makes further
    copies stand by until the first is gone (a file has one writer; a database many: 0 means any number, the default).
    A constructor that raises `Unavailable` is called again later. `takes = "raw"` as a class attribute: it gets whole
    pages as they were transferred (`RAW_KIND`, one `RawHead` and the `blob`) instead of items. `requires` as a class
    attribute: the packages that it imports when it is made, looked for before anything starts."""

    def store(self, messages: Sequence[Message]) -> None:
        """Store each message whole, skipping those whose id is stored already. Returning means durable. Raise
        `Reject` to have messages buried, `Unavailable` to be called again later with nothing charged; after any other
        exception the batch is split until the bad message is alone, and that one is buried."""
