"""The names of a store's files: the current ones, by kind and day where its path says so, and those put away in full.

    items.jsonl                  one file                    in full: items-000001.jsonl, items-000002.jsonl, …
    out/{kind}-{date}.jsonl.gz   one a kind and day (UTC)    in full: out/quote-2026-01-31-000001.jsonl.gz, …

The day is the one on which an item is stored. Pure.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import Final
from urllib.parse import quote

from crawler.error import SettingsError

KIND_CHARS_MAX: Final = 100
"""Of a kind in a file's name; a longer one is cut and told apart by a hash."""

_PACKED: Final = (".gz", ".zst")
_FIELD: Final = re.compile(r"\{(\w*)\}")


class Naming:
    """What the files of `path` are called. `kinds`, `days`: whether there is one for each."""

    def __init__(self, path: str | Path) -> None:
        """Raises SettingsError for an unknown `{field}`, or one in a folder's name."""
        self.folder, self._pattern = Path(path).parent, Path(path).name
        unknown = [f"{{{name}}}" for name in _FIELD.findall(self._pattern) if name not in ("kind", "date")]
        if unknown:
            raise SettingsError(f"{path}: {unknown[0]} is not known; a file's name may have {{kind}} and {{date}}")
        if "{kind}" in str(self.folder) or "{date}" in str(self.folder):
            raise SettingsError(f"{path}: {{kind}} and {{date}} may stand in the file's name only, not in its folder's")
        self.kinds = "{kind}" in self._pattern
        self.days = "{date}" in self._pattern

    @property
    def one(self) -> bool:
        """There is one current file, called as the path says."""
        return not (self.kinds or self.days)

    def name(self, kind: str, day: str) -> str:
        """The current file for a kind; without its folder. Two kinds never share one, and none leaves the folder."""
        named = self._pattern.replace("{date}", day)
        return named.replace("{kind}", _safe(kind)) if self.kinds else named


def numbered(name: str, number: int) -> str:
    """The name of a file that is put away: `items-000001.jsonl.gz`."""
    stem, endings = name, ""
    if (end := Path(stem).suffix) in _PACKED:
        stem, endings = stem[: -len(end)], end
    if end := Path(stem).suffix:
        stem, endings = stem[: -len(end)], f"{end}{endings}"
    return f"{stem}-{number:06}{endings}"


def _safe(kind: str) -> str:
    """Percent-encoded (RFC 3986), so that it is one part of a path; never hidden, nor like a numbered name's end."""
    text = quote(kind, safe="")
    text = re.sub(r"-(?=\d{6}$)", "%2D", re.sub(r"^\.", "%2E", text)) or "%"
    if len(text) <= KIND_CHARS_MAX:
        return text
    return f"{text[:KIND_CHARS_MAX]}+{blake2b(kind.encode(errors='surrogatepass'), digest_size=6).hexdigest()}"
