"""`keep`, `remove`, `rename`: which fields an item has, and what they are called.

{ use = "keep", fields = ["sku", "price"] }
{ use = "remove", fields = ["debug", "offer.internal"] }
{ use = "rename", fields = { preis = "price" } }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crawler.error import SettingsError
from pipelines.processors import Fields
from pipelines.processors.path import MISSING, at, put, texts


class Keep:
    """`fields`: the only ones that stay, in their own order. Fields of the item itself, not within objects."""

    copies = True

    def __init__(self, *, fields: Sequence[str]) -> None:
        """Raises SettingsError."""
        self._names = frozenset(texts("fields", fields))

    def process(self, fields: Fields, /) -> Fields | None:
        return {name: value for name, value in fields.items() if name in self._names}


class Remove:
    """`fields`: those that go."""

    copies = True

    def __init__(self, *, fields: Sequence[str]) -> None:
        """Raises SettingsError."""
        self._paths = texts("fields", fields)

    def process(self, fields: Fields, /) -> Fields | None:
        for path in self._paths:
            if at(fields, path) is not MISSING:
                fields = put(fields, path, MISSING)
        return fields


class Rename:
    """`fields`: name -> new name, all at once, so that two may change places; a field that has the new name already is
    replaced. Fields of the item itself, which keep their places."""

    copies = True

    def __init__(self, *, fields: Mapping[str, str]) -> None:
        """Raises SettingsError."""
        if not isinstance(fields, Mapping) or not all(isinstance(new, str) and new for new in fields.values()):
            raise SettingsError('fields: expected a table of new names, as in { preis = "price" }')
        if len(set(fields.values())) < len(fields):
            raise SettingsError("fields: two fields cannot have the same new name")
        self._names = dict(fields)

    def process(self, fields: Fields, /) -> Fields | None:
        found = self._names.keys() & fields.keys()
        if not found:
            return fields
        taken = {self._names[name] for name in found}
        return {
            self._names.get(name, name): value for name, value in fields.items() if name in found or name not in taken
        }
