"""`validate`: items must fit a JSON Schema (json-schema.org, drafts 4 to 2020-12, told by its `$schema`).

    { use = "validate", kinds = ["product"], schema_file = "product.json" }
    { use = "validate", schema = { required = ["price"] }, invalid = "drop" }

The message of an item that does not is buried, with the place and the rule; with `invalid = "drop"` that item goes and
the others of its page stay. Nothing is fetched: a schema may refer to its own parts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from crawler.error import SettingsError
from pipelines import Reject
from pipelines.processors import Fields

REASON_CHARS_MAX = 300
"""Of what is said about an item."""


class Validate:
    """`schema`, or `schema_file` with it as JSON. `invalid`: `bury` or `drop`. Needs the extra `schema`."""

    copies = True

    def __init__(
        self,
        *,
        schema: Mapping[str, Any] | None = None,
        schema_file: str = "",
        invalid: Literal["bury", "drop"] = "bury",
    ) -> None:
        """Raises SettingsError for what is no schema; ModuleNotFoundError without the extra. Cost: one file read."""
        from jsonschema_rs import validator_for

        if (schema is None) == (not schema_file) or not isinstance(schema or {}, Mapping):
            raise SettingsError("schema (a table) or schema_file: give one of them")
        if invalid not in ("bury", "drop"):
            raise SettingsError(f'invalid: expected "bury" or "drop", found "{invalid}"')
        self._bury = invalid == "bury"
        try:
            self._validator = validator_for(_read(schema_file) if schema is None else dict(schema), retriever=_refuse)
        except ValueError as error:  # the library's own errors are such
            raise SettingsError(f"{schema_file or 'schema'}: not a JSON Schema: {_short(str(error))}") from None

    def process(self, fields: Fields, /) -> Fields | None:
        """Cost: about 1 µs for a fitting item of ten fields."""
        if self._validator.is_valid(fields):
            return fields
        if not self._bury:
            return None
        error = next(iter(self._validator.iter_errors(fields)))
        where = _pointer(error.instance_path) or "the item"
        raise Reject(f"schema: {where}: {_short(error.message)} ({_pointer(error.schema_path)})")


def _read(path: str) -> Any:
    try:
        return msgspec.json.decode(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(f"schema_file {path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"schema_file {path} is not JSON: {error}") from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema is not fetched: {uri}")


def _pointer(path: list[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _short(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= REASON_CHARS_MAX else f"{line[: REASON_CHARS_MAX - 1]}…"
