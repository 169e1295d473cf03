"""Cookies of one worker, in memory (RFC 6265, with the limits and prefixes of RFC 6265bis).

A cookie is its host's, or, with a `Domain` attribute, that of all hosts of this domain, which must be the host's own or
above it and no public suffix (`co.uk`, `github.io`): else a site could set cookies for its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from crawler.suffix import is_public

ATTRIBUTE_BYTES_MAX: Final = 1_024
"""Longer attribute values are ignored (RFC 6265bis §5.6)."""
AGE_MAX_S: Final = 400 * 86_400.0
"""No cookie lives longer (RFC 6265bis §5.5)."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DELIMITERS: Final = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|$)")
_DAY: Final = re.compile(r"(\d{1,2})(?:\D|$)")
_YEAR: Final = re.compile(r"(\d{2,4})(?:\D|$)")
_MONTHS: Final = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Cookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie as it was set."""

    name: str
    value: str
    domain: str = ""
    """All hosts of it get the cookie; empty: the host alone that set it."""
    path: str = "/"
    secure: bool = False
    expires_s: float = float("inf")
    """POSIX time."""
    born: int = 0
    """Order of creation."""


_Key = tuple[str, str, bool]
"""Name, path, and whether it is a domain's: RFC 6265bis §5.7, step 22."""


class Cookies:
    """What the hosts have set. Not thread-safe. Memory: at most `total_max` cookies of `bytes_max` bytes; so many as
    are kept of one host are sent with one request."""

    def __init__(self, *, per_host_max: int = 50, total_max: int = 10_000, bytes_max: int = 4_096) -> None:
        self._per_host_max = per_host_max
        self._total_max = total_max
        self._bytes_max = bytes_max
        self._jars: dict[str, dict[_Key, Cookie]] = {}
        """By the host, or the domain."""
        self._total = 0
        self._born = 0

    def __len__(self) -> int:
        return self._total

    def header(self, url: str, now_s: float) -> str:
        """The Cookie header for a request of a canonical URL; empty when there is none (RFC 6265 §5.4)."""
        if not self._jars:
            return ""
        secure, host, path = _parts(url)
        fit = [
            cookie
            for cookie in self._of(host)
            if cookie.expires_s > now_s and (secure or not cookie.secure) and _path_matches(path, cookie.path)
        ]
        fit.sort(key=lambda cookie: (-len(cookie.path), cookie.born))
        fit = fit[: self._per_host_max]
        return "; ".join(f"{cookie.name}={cookie.value}" if cookie.name else cookie.value for cookie in fit)

    def store(self, url: str, lines: Iterable[str], now_s: float) -> None:
        """Keep what the Set-Cookie headers of an answer to `url` say. A line that breaks a rule is skipped."""
        secure, host, path = _parts(url)
        for line in lines:
            cookie = parse(line, host=host, path=path, secure=secure, now_s=now_s, bytes_max=self._bytes_max)
            if cookie is not None and (secure or not self._shadows(host, cookie, now_s)):
                self._put(cookie.domain or host, cookie, now_s)

    def _of(self, host: str) -> Iterator[Cookie]:
        """The host's own, and those of its domains (RFC 6265 §5.1.3)."""
        yield from self._jars.get(host, {}).values()
        if _is_address(host):
            return
        at = host.find(".")
        while at >= 0:
            if jar := self._jars.get(host[at + 1 :]):
                yield from (cookie for cookie in jar.values() if cookie.domain)
            at = host.find(".", at + 1)

    def _shadows(self, host: str, cookie: Cookie, now_s: float) -> bool:
        """Whether it goes where one of its name goes that HTTPS has set: plain HTTP may set none (RFC 6265bis §5.7,
        step 16; cookies of hosts below its domain are not looked for)."""
        return any(
            old.secure and old.expires_s > now_s and old.name == cookie.name and _path_matches(cookie.path, old.path)
            for old in self._of(cookie.domain or host)
        )

    def _put(self, place: str, cookie: Cookie, now_s: float) -> None:
        jar = self._jars.setdefault(place, {})
        key = (cookie.name, cookie.path, bool(cookie.domain))
        old = jar.pop(key, None)
        if old is not None:
            self._total -= 1
        if cookie.expires_s > now_s:
            self._born += 1
            jar[key] = msgspec.structs.replace(cookie, born=old.born if old is not None else self._born)
            self._total += 1
            if len(jar) > self._per_host_max:
                self._evict(jar, now_s)
        if not jar:
            del self._jars[place]
        while self._total > self._total_max:
            self._total -= len(self._jars.pop(next(iter(self._jars))))

    def _evict(self, jar: dict[_Key, Cookie], now_s: float) -> None:
        """Expired ones, else the one set longest ago."""
        gone = [key for key, cookie in jar.items() if cookie.expires_s <= now_s] or [next(iter(jar))]
        for key in gone:
            del jar[key]
        self._total -= len(gone)


def parse(line: str, *, host: str, path: str, secure: bool, now_s: float, bytes_max: int = 4_096) -> Cookie | None:
    """The cookie that a Set-Cookie header means for an answer of `host` to a request of `path`; None when the header
    is to be ignored (RFC 6265bis §5.6 and 5.7)."""
    if _CONTROL.search(line):
        return None
    pair, _, rest = line.partition(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", name
    name, value = name.strip(" \t"), value.strip(" \t")
    if (not name and not value) or len(name) + len(value) > bytes_max:
        return None
    given = _attributes(rest)
    domain = given.get("domain", "").lower().removeprefix(".")
    if domain and not _covers(domain, host):
        return None
    at = given.get("path", "")
    is_secure = "secure" in given
    if is_secure and not secure:
        return None
    if name.lower().startswith("__secure-") and not is_secure:
        return None
    if name.lower().startswith("__host-") and (not is_secure or domain or at != "/"):
        return None
    if not name and value.lower().startswith(("__secure-", "__host-")):
        return None
    return Cookie(
        name=name,
        value=value,
        domain="" if domain == host and (_is_address(host) or is_public(host)) else domain,
        path=at if at.startswith("/") else _default_path(path),
        secure=is_secure,
        expires_s=_expires(given, now_s),
    )


def _covers(domain: str, host: str) -> bool:
    """Whether the host may set cookies for all of the domain (RFC 6265 §5.3, steps 5 and 6)."""
    return domain == host or (host.endswith(f".{domain}") and not _is_address(host) and not is_public(domain))


def _attributes(text: str) -> dict[str, str]:
    """By name in lower case; the last one given counts."""
    found = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        value = value.strip(" \t")
        if len(value) <= ATTRIBUTE_BYTES_MAX:
            found[name.strip(" \t").lower()] = value
    return found


def _expires(given: dict[str, str], now_s: float) -> float:
    """Max-Age wins over Expires; neither: with the process."""
    age = given.get("max-age", "")
    if re.fullmatch(r"-?[0-9]+", age):
        return now_s + min(float(age[:12]), AGE_MAX_S) if age[0] != "-" and age.strip("0") else 0.0
    if "expires" in given and (at := date(given["expires"])) is not None:
        return min(at, now_s + AGE_MAX_S)
    return float("inf")


def date(text: str) -> float | None:
    """A cookie date as POSIX time, read as leniently as RFC 6265 §5.1.1 asks; None when it is none."""
    time: tuple[int, ...] | None = None
    day = month = year = None
    for token in _DELIMITERS.split(text):
        if time is None and (found := _TIME.match(token)):
            time = tuple(map(int, found.groups()))
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3] and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower())
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
    if time is None or day is None or month is None or year is None:
        return None
    year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    try:
        at = datetime(year, month, day, time[0], time[1], time[2], tzinfo=UTC)
    except ValueError:
        return None
    return at.timestamp() if year >= 1601 else None


def _parts(url: str) -> tuple[bool, str, str]:
    """Whether it is https, the host without port, and the path of a canonical URL."""
    start = url.index("//") + 2
    end = url.index("/", start)
    return url.startswith("https:"), re.sub(r":\d+$", "", url[start:end]), url[end:].partition("?")[0]


def _default_path(path: str) -> str:
    return path[: path.rindex("/")] or "/"


def _path_matches(path: str, of: str) -> bool:
    return path == of or (path.startswith(of) and (of.endswith("/") or path[len(of)] == "/"))


def _is_address(host: str) -> bool:
    return host.startswith("[") or host.rpartition(".")[2].isdigit()
