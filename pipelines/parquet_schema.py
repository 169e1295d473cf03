"""The types of a Parquet file's columns, found in the data and only ever widened. Pure; knows no pyarrow.

A type is written as in settings: `"int"`, `"float"`, `"bool"`, `"string"`, `["string"]` for a list, `{ name = "string",
price = "float" }` for an object. Each widening holds all that the type held before: a new field of an object, an int
that becomes a float. Whatever else a value may be, it does not change a column's type, but goes to the column `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from crawler.error import SettingsError

Type = str | list[Any] | dict[str, Any]

FIXED: Final = ("id", "kind", "url", "fetched_at", "spider")
EXTRA: Final = "extra"

COLUMNS_MAX: Final = 1_000
"""Found in the data; further fields go to `extra`."""
FIELDS_MAX: Final = 200
"""Of an object; one with more is more likely a map, and goes to `extra`."""
DEPTH_MAX: Final = 8
"""Of lists and objects within each other."""

_INT: Final = range(-(2**63), 2**63)
_EXACT: Final = range(-(2**53), 2**53 + 1)
"""Whole numbers that a float holds exactly (IEEE 754 binary64)."""

_SCALARS: Final[dict[type, str]] = {int: "int", float: "float", bool: "bool", str: "string"}
PLAIN: Final[dict[str, frozenset[type]]] = {name: frozenset({kind, type(None)}) for kind, name in _SCALARS.items()}
"""Python's types that a column of each scalar type holds, as they are."""


class Misfit(Exception):
    """A value that a type does not hold."""


def checked(columns: Mapping[str, Any]) -> dict[str, Type]:
    """The option `columns`. Raises SettingsError."""
    for name, type in columns.items():
        _check(type, f"columns: {name}", 0)
    return dict(columns)


def _check(type: Any, where: str, depth: int) -> None:
    inner: Sequence[Any] = ()
    match type:
        case str() if type in PLAIN:
            return
        case [one]:
            inner = (one,)
        case dict() if type:
            inner = tuple(type.values())
        case _:
            raise SettingsError(
                f'{where}: {type!r} is no type: expected "int", "float", "bool", "string", ["…"] for a list, or '
                '{name = "…"} for an object'
            )
    if depth >= DEPTH_MAX:
        raise SettingsError(f"{where}: more than {DEPTH_MAX} lists and objects within each other")
    for one in inner:
        _check(one, where, depth + 1)


def column(name: str) -> str:
    """The name of a field's column."""
    return f"data.{name}" if name in (*FIXED, EXTRA) else name


def widened(schema: Mapping[str, Type], rows: Sequence[Mapping[str, Any]]) -> dict[str, Type]:
    """The schema with what these items need more; equal to `schema` when that is nothing.

    Cost: one look at each value's type; lists and objects are gone through."""
    wide = dict(schema)
    for name in dict.fromkeys(chain.from_iterable(rows)):
        values = [row.get(name) for row in rows]
        known = wide.get(name)
        if isinstance(known, str) and set(map(type, values)) <= PLAIN[known]:
            continue
        for value in values:
            if value is not None:
                known = _widened(known, value, 0)
        if known is not None and (name in wide or len(wide) < COLUMNS_MAX):
            wide[name] = known
    return wide


def _widened(known: Type | None, value: Any, depth: int) -> Type | None:
    """The type that holds `value` too, or the same when there is none. None: not known yet (null, empty)."""
    if isinstance(value, list | dict):
        if depth >= DEPTH_MAX:
            return known
        if isinstance(value, list):
            return _widened_list(known, value, depth)
        return _widened_object(known, value, depth)
    scalar = _SCALARS.get(type(value))
    if known is None:
        return None if scalar == "int" and value not in _INT else scalar
    return "float" if known == "int" and scalar == "float" else known


def _widened_list(known: Type | None, values: list[Any], depth: int) -> Type | None:
    if known is not None and not isinstance(known, list):
        return known
    inner = None if known is None else known[0]
    for value in values:
        inner = _widened(inner, value, depth + 1)
    return known if inner is None else [inner]


def _widened_object(known: Type | None, fields: dict[str, Any], depth: int) -> Type | None:
    if known is not None and not isinstance(known, dict):
        return known
    types: dict[str, Any] = dict(known or {})
    for name, value in fields.items():
        inner = _widened(types.get(name), value, depth + 1)
        if inner is not None:
            types[name] = inner
    return known if len(types) > FIELDS_MAX or not types else types


def fitted(value: Any, type: Type) -> Any:
    """The value as the type holds it. Raises Misfit."""
    if value is None:
        return None
    match type:
        case "int":
            fits = value.__class__ is int and value in _INT
        case "float":
            if value.__class__ is int and value in _EXACT:
                return float(value)
            fits = value.__class__ is float
        case "bool" | "string":
            fits = value.__class__ in PLAIN[type]
        case [inner]:
            if isinstance(value, list):
                return [fitted(one, inner) for one in value]
            fits = False
        case _:
            return _fitted_object(value, type)
    if not fits:
        raise Misfit
    return value


def _fitted_object(value: Any, types: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misfit
    for name, one in value.items():
        if name not in types and one is not None:
            raise Misfit
    return {name: fitted(value.get(name), inner) for name, inner in types.items()}


def changes(before: Mapping[str, Type], after: Mapping[str, Type]) -> list[str]:
    """What is wider, in words."""
    return [
        f"{name} is {shown(type)}, was {shown(before[name])}" if name in before else f"{name} ({shown(type)}) is new"
        for name, type in after.items()
        if before.get(name) != type
    ]


def shown(type: Type) -> str:
    if isinstance(type, str):
        return type
    if isinstance(type, list):
        return f"list<{shown(type[0])}>"
    return f"object<{', '.join(f'{name}: {shown(inner)}' for name, inner in type.items())}>"
