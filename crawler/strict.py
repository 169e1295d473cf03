"""Values that people wrote, checked one by one against the tables they are for. Knows no table of its own.

Every value is a `Given`: where it stands, where it goes, and what it says; so each message names the file, variable or
option that a person has to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from crawler.error import SettingsError

ENVIRON_PREFIX = "CRAWLER__"


class Given(NamedTuple):
    """One value: where it was found, the tables and the key it is for, and the value itself."""

    place: str
    """For messages: `settings.toml: [worker] batch_max`, `--set worker.batch_max`, `CRAWLER__WORKER__BATCH_MAX`."""
    path: tuple[str, ...]
    value: Any
    text: bool = False
    """The value is text from a shell: a TOML value, or a bare string where it is not one."""


def given_in_file(path: str) -> Iterator[Given]:
    """The values of a TOML file. Raises SettingsError when it is missing, unreadable or not TOML. Cost: one read."""
    import tomllib

    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name} stands above the first [table]; put it under its table")
        for key, value in table.items():
            yield Given(f"{path}: [{name}] {key}", (name, key), value)


def given_in_environ(environ: Mapping[str, str]) -> Iterator[Given]:
    """The variables `CRAWLER__TABLE__KEY`, also `CRAWLER__PIPELINES__NAME__KEY`, in lower case."""
    for name, text in sorted(environ.items()):
        if name.startswith(ENVIRON_PREFIX):
            yield Given(name, tuple(name[len(ENVIRON_PREFIX) :].lower().split("__")), text, text=True)


def given_in_sets(sets: Sequence[str]) -> Iterator[Given]:
    """The values of `--set table.key=value`, also `pipelines.NAME.key=value`. Raises SettingsError for another form."""
    for one in sets:
        name, equals, text = one.partition("=")
        if not equals or "." not in name:
            raise SettingsError(f"--set {one}: expected table.key=value, as in --set worker.concurrency=16")
        name = name.strip()
        yield Given(f"--set {name}", tuple(name.split(".")), text.strip(), text=True)


def resolve(
    given: Iterable[Given],
    tables: Mapping[str, type[msgspec.Struct]],
    *,
    named: Mapping[str, type[msgspec.Struct]],
    free: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Checked values by table; of several for one key the last wins. `tables` have fixed keys; in a table of `named`
    every key is the name of a table, which may have keys of its own; a table of `free` has any keys.

    Raises SettingsError for an unknown table or key, a wrong type, a value out of range.
    """
    values: dict[str, dict[str, Any]] = {}
    for one in given:
        table, *keys = one.path
        if table not in tables and table not in named and table not in free:
            known = (*tables, *named, *free)
            raise SettingsError(f"{one.place}: unknown table [{table}]; {did_you_mean(table, known)}")
        into = values.setdefault(table, {})
        if table in named:
            _resolve_named(one, into, named[table])
            continue
        if len(keys) != 1 or not keys[0]:
            raise SettingsError(f"{one.place}: expected one key in [{table}], as in {table}.key")
        into[keys[0]] = _free(one) if table in free else _checked(one, keys[0], tables[table])
    return values


def _resolve_named(one: Given, into: dict[str, Any], table: type[msgspec.Struct]) -> None:
    """Put a value of `[table.NAME]` in its place; a whole table goes key by key."""
    name, keys = one.path[1] if len(one.path) > 1 else "", one.path[2:]
    if not keys and isinstance(one.value, dict):
        for key, value in one.value.items():
            place = one.place.replace(f"[{one.path[0]}] {name}", f"[{one.path[0]}.{name}] {key}")
            _resolve_named(Given(place, (*one.path, key), value), into, table)
        return
    if len(keys) != 1 or not name or not keys[0]:
        raise SettingsError(f"{one.place}: expected a table with a name and a key, as in [{one.path[0]}.NAME] use")
    known = table.__struct_fields__
    into.setdefault(name, {})[keys[0]] = _checked(one, keys[0], table) if keys[0] in known else _free(one)


def _checked(one: Given, key: str, table: type[msgspec.Struct]) -> Any:
    """The value as the table's field wants it."""
    if key not in table.__struct_fields__:
        raise SettingsError(f"{one.place}: unknown key, {did_you_mean(key, table.__struct_fields__)}")
    kind = get_type_hints(table, include_extras=True)[key]
    values = [_parsed(one.value), one.value] if one.text else [one.value]
    _check_within(one.place, kind, values[0])
    problem: Exception | None = None
    for value in values:
        try:
            checked = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem = problem or error
            continue
        if not isinstance(checked, float) or checked - checked == 0:  # neither inf nor nan
            return checked
    found = "***" if key.endswith(("password", "token")) else _found(values[0])
    if get_origin(kind) is dict and isinstance(values[0], dict):
        found = str(problem)  # names the place within, and shows no value
    raise SettingsError(f"{one.place}: expected {_expected(kind)}, found {found}")


def _check_within(place: str, kind: Any, value: Any) -> None:
    """The keys of a table of tables."""
    table = get_args(kind)[1] if get_origin(kind) is dict else None
    known: tuple[str, ...] = getattr(table, "__struct_fields__", ())
    for name, values in value.items() if known and isinstance(value, dict) else ():
        for key in values if isinstance(values, dict) else ():
            if key not in known:
                raise SettingsError(f'{place}."{name}" {key}: unknown key, {did_you_mean(key, known)}')


def _free(one: Given) -> Any:
    return _parsed(one.value) if one.text else one.value


def _parsed(text: str) -> Any:
    """The TOML value that a text is, or else the text."""
    import tomllib

    try:
        values = tomllib.loads(f"value = {text}")
    except ValueError:
        return text
    return values["value"] if len(values) == 1 else text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or what there is."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names)}" if names else "there is none"


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


def _expected(kind: Any) -> str:
    """A field's type in words."""
    if get_origin(kind) in (Union, UnionType):  # or nothing
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    if get_origin(kind) is tuple:
        if get_origin(get_args(kind)[0]) is dict:
            return 'an array of tables, as in [{ use = "keep", fields = ["a"] }]'
        return 'an array of strings, as in ["a", "b"]'
    if get_origin(kind) is dict:
        return "a table of tables"
    if (meta := getattr(kind, "__metadata__", None)) is None:
        return _NAMES.get(kind, str(kind))
    low = f"from {meta[0].ge}" if meta[0].ge is not None else f"above {meta[0].gt}, up"
    return f"{_NAMES[kind.__origin__]} {low} to {meta[0].le:,.0f}"


def _found(value: Any) -> str:
    """A value in words."""
    if isinstance(value, str):
        return f'"{re.sub("//.*@", "//***@", value)[:80]}" (a string)'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"{re.sub('//[^,]*@', '//***@', str(value))[:80]} (an array)"
    return f"{str(value)[:80]}" if isinstance(value, int | float) else f"a {type(value).__name__}"
