"""The shape of a URL: what is left when that is taken away of which a site can make ever more. Pure.

    /item/12345?page=2               plain      /item/{n}?page={n}
    /calendar/2031/05                calendar   /calendar/{date}/{date}
    /shop/cart?PHPSESSID=8f3a91…     session    /shop/cart?PHPSESSID={session}
    /s/8f3a91c2…/page7               token      /s/{token}/page7
    /a/c/b/a/d/c                     plain      /a/{deep}

Calendars and plain URLs lose their numbers; one page under many session ids or tokens keeps them. A URL without a digit
has no shape, for without counting a site grows only by longer URLs; but all deep ones below one first segment share
one. That is where a page's menu leads when its links lack the first slash, and the server answers whatever stands
behind.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Kind = Literal["plain", "calendar", "session", "token"]

DEEP: Final = 4
"""With more path segments a URL without a digit is a deep one."""
YEAR_MIN: Final = 1970
YEARS_AHEAD: Final = 5
"""A calendar that tells of a later year, or an earlier one than `YEAR_MIN`, is far from anything that happened."""

_DIGIT: Final = re.compile(r"\d")
_DIGITS: Final = re.compile(r"\d+")
_DATE: Final = re.compile(
    r"[12]\d{3}[-_.]?(?:0?[1-9]|1[0-2])(?:[-_.]?(?:0?[1-9]|[12]\d|3[01]))?"
    r"|\d{4}-?[Ww]\d\d?"  # ISO 8601 weeks
)
_YEAR: Final = re.compile(r"[12]\d{3}")
_DAY: Final = re.compile(r"\d{1,2}")
_TOKEN: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # RFC 9562
    r"|(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{16,}"
    r"|(?=(?:[a-zA-Z]*\d){4})(?=\d*[a-zA-Z])[0-9a-zA-Z]{24,}"
)
_COOKIELESS: Final = re.compile(r"\((?:[A-Za-z]\([^()]*\))+\)")
"""As ASP.NET puts sessions into paths: /(S(lit3py55t21z5v55vlm25s55))/."""
_SESSION: Final = frozenset(
    {
        *("jsessionid", "phpsessid", "sessionid", "session_id", "session-id", "sessid", "session", "sid", "sess"),
        *("asp.net_sessionid", "aspsessionid", "cfid", "cftoken", "zenid", "oscsid", "xtsid", "psession", "ssid"),
        *("sessionkey", "session_key", "visitid", "visit_id", "wsid", "usid"),
    }
)
_CALENDAR: Final = frozenset(
    {
        *("calendar", "cal", "kalender", "calendrier", "calendario", "agenda", "schedule"),
        *("date", "day", "daily", "week", "weekly", "month", "monthly", "year", "yearly", "ym", "yyyymm"),
    }
)
_LARGEST: Final = {"month": 12, "day": 31, "week": 53}
_UNNAMED_MAX: Final = 1_000
"""A number in a calendar's URL that is no year: months and days counted from somewhere do not come so far."""


class Shape(NamedTuple):
    key: str
    """Host and what is left of path and query."""
    kind: Kind
    tokens: tuple[str, ...] = ()
    """The session ids and tokens that were taken away."""
    far: bool = False
    """Of a calendar: nothing happens at this date."""


def shape_of(url: str, year: int) -> Shape | None:
    """Of a canonical URL; None when it has none. `year`: now. Cost: 0.2 µs without a digit, else 5 µs."""
    start = url.index("/", 8)
    if not _DIGIT.search(url, start):
        end = url.find("?", start)
        deep = url.count("/", start, end if end >= 0 else len(url)) > DEEP
        return Shape(f"{url[: url.index('/', start + 1)]}/{{deep}}", "plain") if deep else None
    return _Reading(url, start, year).shape()


class _Reading:
    """One URL, taken apart."""

    def __init__(self, url: str, start: int, year: int) -> None:
        self._host = url[:start]
        self._path, _, self._query = url[start:].partition("?")
        self._year = year
        self._tokens: list[str] = []
        self._session = self._calendar = self._far = False

    def shape(self) -> Shape:
        segments = self._path.split("/")
        dates = _dates_at_end(segments)
        self._calendar = bool(dates) or any(segment.lower() in _CALENDAR for segment in segments)
        parts = [self._segment(one, dated=at >= len(segments) - dates) for at, one in enumerate(segments)]
        query = [self._parameter(one) for one in self._query.split("&")] if self._query else []
        kind: Kind = "plain"
        if self._calendar:
            kind = "calendar"
        elif self._session:
            kind = "session"
        elif self._tokens:
            kind = "token"
        key = "/".join(parts) + ("?" + "&".join(query) if query else "")
        if kind in ("plain", "calendar"):
            key = _DIGITS.sub("{n}", key)
        return Shape(self._host + key, kind, tuple(self._tokens), self._far and kind == "calendar")

    def _segment(self, text: str, *, dated: bool) -> str:
        if not text or not _DIGIT.search(text):
            return text
        if ";" in text:
            text, *parameters = text.split(";")
            return ";".join([self._segment(text, dated=dated), *map(self._parameter, parameters)])
        if _COOKIELESS.fullmatch(text):
            return self._taken(text, session=True)
        if dated:
            self._number("year" if len(text) == 4 else "", text)
            return "{date}"
        return self._value("", text)

    def _parameter(self, text: str) -> str:
        name, equals, value = text.partition("=")
        lower = name.lower()
        if value and (lower in _SESSION or lower.startswith("aspsessionid")):
            return f"{name}={self._taken(value, session=True)}"
        if lower in _CALENDAR and _DIGIT.search(value):
            self._calendar = True
        return f"{name}{equals}{self._value(lower, value)}" if value else text

    def _value(self, name: str, text: str) -> str:
        if _TOKEN.fullmatch(text):
            return self._taken(text, session=False)
        if _DATE.fullmatch(text) and (len(text) > 5 or "-" in text):
            self._calendar = self._calendar or not text.isdigit() or name in _CALENDAR
            self._number("year", text[:4])
            return "{date}" if self._calendar else text
        if text.isascii() and text.isdigit():
            self._number(name, text)
        return text

    def _taken(self, token: str, *, session: bool) -> str:
        self._session = self._session or session
        self._tokens.append(token)
        return "{session}" if session else "{token}"

    def _number(self, name: str, text: str) -> None:
        """Whether it makes the date implausible."""
        value = int(text[:9])
        if name == "year" or (_YEAR.fullmatch(text) and not name):
            self._far = self._far or not YEAR_MIN <= value <= self._year + YEARS_AHEAD
        elif value > _LARGEST.get(name, _UNNAMED_MAX):
            self._far = True


def _dates_at_end(segments: list[str]) -> int:
    """How many segments at the end are a year with a month, and maybe a day: /2031/05/, /2031/5/13."""
    count = len(segments) - (segments[-1] == "")
    for length in (3, 2):
        at = count - length
        if at > 0 and _YEAR.fullmatch(segments[at]) and all(map(_DAY.fullmatch, segments[at + 1 : count])):
            return length + len(segments) - count
    return 0


def repeats(url: str, repeats_max: int) -> str:
    """The path segments of a canonical URL that stand in a row more than `repeats_max` times; empty when none do.
    Cost: 0.3 µs, for many equal segments up to the square of their number."""
    path = url[url.index("/", 8) : url.index("?") if "?" in url else len(url)]
    segments = path.strip("/").split("/")
    count = len(segments)
    if count <= repeats_max or count - len(set(segments)) < repeats_max:
        return ""
    for period in range(1, count // (repeats_max + 1) + 1):
        run = 0
        for at in range(count - period):
            run = run + 1 if segments[at] == segments[at + period] and segments[at] else 0
            if run >= period * repeats_max:
                return "/".join(segments[at + 1 : at + 1 + period])
    return ""
