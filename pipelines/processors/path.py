"""Fields by their path: `price`, or `offer.price` for a field of an object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crawler.error import SettingsError
from pipelines.processors import Fields

MISSING: Any = object()
"""There is no such field."""


def at(fields: Fields, path: str) -> Any:
    """The value, or MISSING. A field with dots in its own name goes first."""
    if path in fields or "." not in path:
        return fields.get(path, MISSING)
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def put(fields: Fields, path: str, value: Any) -> Fields:
    """A copy in which the field that is at the path has another value, or, for MISSING, is gone."""
    if path in fields or "." not in path:
        name, rest = path, ""
    else:
        name, _, rest = path.partition(".")
    changed = dict(fields)
    if rest:
        changed[name] = put(fields[name], rest, value)
    elif value is MISSING:
        del changed[name]
    else:
        changed[name] = value
    return changed


def texts(what: str, given: Any) -> tuple[str, ...]:
    """An option that is an array of strings, or one. Raises SettingsError."""
    words = (given,) if isinstance(given, str) else given
    if not isinstance(words, Sequence) or not all(isinstance(word, str) and word for word in words):
        raise SettingsError(f'{what}: expected an array of strings, as in ["a", "b"]')
    return tuple(words)


def deep(value: Any) -> Iterator[str]:
    """All texts in a value, at any depth; names of fields aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from deep(one)
    elif isinstance(value, list):
        for one in value:
            yield from deep(one)
