"""`redact`: values that must not be stored.

    { use = "redact", fields = ["email", "author.phone"] }
    { use = "redact", patterns = ['\\b[\\w.+-]{1,64}@[\\w.-]{1,255}'], hash = true, salt = "…" }

Patterns meet whatever a page says: begin them with a \\b or a letter and bound their repetitions, or a hostile text
makes them slow. A hash lets equal values be told from different ones; without a `salt` that is kept secret, anybody can
try values out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from crawler.error import SettingsError
from pipelines.processors import Fields
from pipelines.processors.path import MISSING, at, put, texts

_encode = msgspec.json.Encoder(order="deterministic").encode


class Redact:
    """`fields`: their whole values go. `patterns`: what these regular expressions match goes, in all texts of the item
    at any depth. `replacement`, or with `hash` a keyed hash (BLAKE2b, 128 bits), stands there instead."""

    copies = True

    def __init__(
        self,
        *,
        fields: Sequence[str] = (),
        patterns: Sequence[str] = (),
        replacement: str = "***",
        hash: bool = False,
        salt: str = "",
    ) -> None:
        """Raises SettingsError."""
        self._paths = texts("fields", fields)
        try:
            self._patterns = [re.compile(pattern) for pattern in texts("patterns", patterns)]
        except re.error as error:
            raise SettingsError(f"patterns: {error.pattern!r} is not a regular expression: {error}") from None
        if not self._paths and not self._patterns:
            raise SettingsError("fields or patterns: say what is to be redacted")
        if not isinstance(replacement, str) or not isinstance(hash, bool) or not isinstance(salt, str):
            raise SettingsError("replacement and salt are strings, hash is true or false")
        if salt and not hash:
            raise SettingsError("salt: it is for hash = true")
        self._replacement, self._hash = replacement, hash
        self._key = blake2b(salt.encode(), digest_size=32).digest() if salt else b""

    def process(self, fields: Fields, /) -> Fields | None:
        for path in self._paths:
            value = at(fields, path)
            if value is not MISSING and value is not None:
                text = value if isinstance(value, str) else _encode(value).decode()
                fields = put(fields, path, self._instead(text))
        if self._patterns:
            cleaned = self._cleaned(fields)
            fields = fields if cleaned == fields else cleaned
        return fields

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            for pattern in self._patterns:
                value = pattern.sub(lambda match: self._instead(match[0]), value)
            return value
        if isinstance(value, dict):
            return {name: self._cleaned(one) for name, one in value.items()}
        return [self._cleaned(one) for one in value] if isinstance(value, list) else value

    def _instead(self, text: str) -> str:
        if not self._hash:
            return self._replacement
        return blake2b(text.encode(errors="surrogatepass"), digest_size=16, key=self._key).hexdigest()
