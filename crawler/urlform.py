"""The canonical form of URLs beyond what a browser would send, by setting ([url]): which ones are one page.

Applied to what seeds, links and redirects name, before it gets its fingerprint. Pure; idempotent.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

import msgspec

from crawler.error import SettingsError
from crawler.url import CANONICAL_VERSION

_PARAMETER: Final = re.compile(r"[^&=#\s+*]+\*?")
_INDEX: Final = re.compile(r"[^/?#\s]+")


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as the same page. Everything is off by default."""

    sort_query: bool = False
    """Parameters in the order of their names; those of one name keep theirs."""
    drop: tuple[str, ...] = ()
    """Names of parameters that do not count, in lower case; a `*` at the end stands for anything."""
    lower_path: bool = False
    default_index: tuple[str, ...] = ()
    """Names of files that stand for their directory."""
    trailing_slash: bool = False
    """A slash at the end of the path does not count."""

    @property
    def plain(self) -> bool:
        """It changes nothing."""
        return self == _PLAIN

    @property
    def version(self) -> str:
        """For `CrawlRecord.canonical`: another form gives other fingerprints."""
        if self.plain:
            return CANONICAL_VERSION
        parts = [name for name in ("sort_query", "lower_path", "trailing_slash") if getattr(self, name)]
        for name in ("drop", "default_index"):
            if values := getattr(self, name):
                parts.append(f"{name}:{blake2b(msgspec.json.encode(sorted(values)), digest_size=4).hexdigest()}")
        return f"{CANONICAL_VERSION}+{','.join(parts)}"

    def of(self, url: str) -> str:
        """The form of a canonical URL. Cost: nothing when all is off, else 1 µs, 3 µs with a query."""
        if self.plain:
            return url
        start = url.index("/", 8)
        path, mark, query = url[start:].partition("?")
        changed = self._path(path)
        if mark and (self.drop or self.sort_query):
            query = self._query(query)
        if changed == path and len(url) == start + len(path) + len(mark) + len(query) and url.endswith(query):
            return url
        return f"{url[:start]}{changed}{mark if query else ''}{query}"

    def _path(self, path: str) -> str:
        if self.lower_path:
            # Percent-encodings stay in the case they have: a server may tell them apart, and canonical URLs keep it.
            path = "".join(part if part[:1] == "%" else part.lower() for part in re.split(r"(%[0-9A-Fa-f]{2})", path))
        before = ""
        while path != before:  # behind a slash there may be an index again
            before = path
            head, _, last = path.rpartition("/")
            if last in self.default_index:
                path = f"{head}/"
            if self.trailing_slash and len(path) > 1:
                path = path.rstrip("/") or "/"
        return path

    def _query(self, query: str) -> str:
        parameters = query.split("&")
        if self.drop:
            parameters = [one for one in parameters if one and not self._drops(one.partition("=")[0].lower())]
        if self.sort_query:
            parameters.sort(key=lambda one: one.partition("=")[0])
        return "&".join(parameters)

    def _drops(self, name: str) -> bool:
        return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in self.drop)


_PLAIN: Final = Form()


def of_version(version: str, known: Form) -> Form | None:
    """The form that a version names. Lists stand in it only as hashes: they are those of `known`, if these have the
    hash; None: they have not, or the version is of other rules."""
    parts = version.partition("+")[2].split(",")
    names = {part.partition(":")[0] for part in parts}
    form = Form(
        sort_query="sort_query" in names,
        drop=known.drop if "drop" in names else (),
        lower_path="lower_path" in names,
        default_index=known.default_index if "default_index" in names else (),
        trailing_slash="trailing_slash" in names,
    )
    return form if form.version == version else None


def check(form: Form) -> None:
    """Raises SettingsError for names that cannot stand in a URL."""
    for name in form.drop:
        if not _PARAMETER.fullmatch(name):
            raise SettingsError(f"[url] tracking: {name!r} is not the name of a parameter, as utm_* or gclid")
    for name in form.default_index:
        if not _INDEX.fullmatch(name):
            raise SettingsError(f"[url] default_index: {name!r} is not the name of a file, as index.html")
