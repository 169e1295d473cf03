"""The processor port: what is done with an item's data before a pipeline stores it.

A user's own is found by `module:Class` or `path/file.py:Class`; those that ship with it by a word. Both are named in
settings, in the order in which they run; every other key of the entry is an argument of the constructor:

    [pipelines.prices]
    use = "pipelines.jsonl:JsonLines"
    path = "prices.jsonl"
    processors = [
        { use = "drop", where = { price = { missing = true } } },
        { use = "validate", kinds = ["product"], schema_file = "product.json" },
        { use = "my_shop.py:Currency", to = "EUR" },
    ]

`kinds`, on any entry: patterns of the kinds that it is for (`shop.*`); others pass it by. A processor cannot change
ids, kinds and URLs: items stay what they are, and a message that lost all its items counts as stored.
"""

from __future__ import annotations

from typing import Any, Protocol

Fields = dict[str, Any]
"""An item's data."""


class Processor(Protocol):
    """Called by one thread at a time, again for the same item when that is delivered again, or its batch is halved: so
    the same data must have the same answer."""

    def process(self, fields: Fields, /) -> Fields | None:
        """The data as it goes on, the same object or another; None drops the item. Raise `Reject` to have the item's
        message buried; after any other exception it is tried again, then buried."""
