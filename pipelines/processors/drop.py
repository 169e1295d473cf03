"""`drop`: items for which all conditions hold.

    { use = "drop", where = { "offer.price" = 0, title = { matches = "(?i)sample" }, sku = { missing = true } } }

A condition is a value that the field equals, or one of the tables `equals`, `matches` (a regular expression, searched
in a text), `missing` (true: the field is not there, null or empty; false: it is there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from crawler.error import SettingsError
from crawler.strict import did_you_mean
from pipelines.processors import Fields
from pipelines.processors.path import MISSING, at

Condition = Callable[[Any], bool]
TESTS = ("equals", "matches", "missing")


class Drop:
    """`where`: field -> condition."""

    copies = True

    def __init__(self, *, where: Mapping[str, Any]) -> None:
        """Raises SettingsError."""
        if not isinstance(where, Mapping) or not where:
            raise SettingsError("where: expected a table of conditions, as in { price = 0 }")
        self._conditions = [(path, _condition(path, wanted)) for path, wanted in where.items()]

    def process(self, fields: Fields, /) -> Fields | None:
        return None if all(holds(at(fields, path)) for path, holds in self._conditions) else fields


def _condition(path: str, wanted: Any) -> Condition:
    if not isinstance(wanted, Mapping):
        return _equals(wanted)
    if len(wanted) != 1:
        raise SettingsError(f"where: {path}: expected one of {', '.join(TESTS)}")
    ((test, value),) = wanted.items()
    if test == "equals":
        return _equals(value)
    if test == "missing" and isinstance(value, bool):
        return lambda found: (found is MISSING or found in (None, "", [], {})) is value
    if test == "matches" and isinstance(value, str):
        try:
            search = re.compile(value).search
        except re.error as error:
            raise SettingsError(f"where: {path}: {value!r} is not a regular expression: {error}") from None
        return lambda found: isinstance(found, str) and search(found) is not None
    if test in TESTS:
        raise SettingsError(f"where: {path}: {test} is {'true or false' if test == 'missing' else 'a string'}")
    raise SettingsError(f"where: {path}: unknown test {test}; {did_you_mean(test, TESTS)}")


def _equals(value: Any) -> Condition:
    """JSON's equality: true is not 1."""
    return lambda found: found == value and isinstance(found, bool) is isinstance(value, bool)
