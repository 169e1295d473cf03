"""The hours in which a crawl may ask its hosts: `22:00-06:00`, by the clock of a time zone. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from crawler.error import SettingsError
from crawler.tables import PolitenessTable

_WINDOW: Final = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY: Final = 24 * 60


class Hours:
    """Windows of a day; one whose end is before its begin goes over midnight. None at all: always open."""

    def __init__(self, windows: Sequence[str] = (), zone: str = "", *, where: str = "[politeness]") -> None:
        """zone: a name of the IANA time zone database; empty: UTC. Raises SettingsError, which names the table `where`
        they stand."""
        self._windows = tuple(_parsed(window, where) for window in windows)
        self._zone = _zone(zone, where) if self._windows or zone else UTC

    def opens_ms(self, now_ms: int) -> int | None:
        """When the next window opens; None while one is open. Both in ms since 1970."""
        if not self._windows:
            return None
        now = datetime.fromtimestamp(now_ms / 1000, self._zone)
        minute = now.hour * 60 + now.minute
        if any(_within(minute, *window) for window in self._windows):
            return None
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        opens = (
            # By the clock on the wall: a day may have 23 or 25 hours.
            round((midnight + timedelta(days=day, minutes=start)).timestamp() * 1000)
            for day in (0, 1)
            for start, _ in self._windows
        )
        return min(time for time in opens if time > now_ms)

    def opens(self, now_ms: int) -> str:
        """`2026-07-01T22:00+02:00`, when the next window opens; empty while one is open."""
        opens_ms = self.opens_ms(now_ms)
        if opens_ms is None:
            return ""
        return datetime.fromtimestamp(opens_ms / 1000, self._zone).isoformat(timespec="minutes")

    def meets(self, other: Hours) -> bool:
        """Whether both are ever open at once, in winter or summer. Where they are, a window of one of them begins."""
        begins = (
            round(datetime(2026, month, 15, start // 60, start % 60, tzinfo=hours._zone).timestamp() * 1000)
            for hours in (self, other)
            for start, _ in hours._windows
            for month in (1, 7)
        )
        if not (self._windows and other._windows):
            return True
        return any(self.opens_ms(time_ms) is None and other.opens_ms(time_ms) is None for time_ms in begins)

    def wait_s(self, now_ms: int) -> float:
        """Seconds until one is open; 0 while one is."""
        opens_ms = self.opens_ms(now_ms)
        return 0.0 if opens_ms is None else (opens_ms - now_ms) / 1000


class HostHours:
    """The hours of a crawl, and those of single hosts within them."""

    def __init__(self, table: PolitenessTable) -> None:
        """Raises SettingsError."""
        self._crawl = Hours(table.hours, table.zone)
        self._own: dict[str, Hours] = {}
        for name, host in table.hosts.items():
            zone = table.zone if host.zone is None else host.zone
            own = Hours(host.hours or (), zone, where=f'[politeness.hosts."{name}"]')
            if not own.meets(self._crawl):
                raise SettingsError(
                    f'[politeness.hosts."{name}"] hours: never within those of [politeness], so its pages would wait '
                    "for ever"
                )
            if host.hours:
                self._own[name] = own

    @property
    def any_own(self) -> bool:
        """Some host has hours of its own."""
        return bool(self._own)

    def own_s(self, host: str, now_ms: int) -> float:
        """Seconds until a window of this host alone is open; 0 while one is, or when it has none."""
        own = self._own.get(host)
        return own.wait_s(now_ms) if own is not None else 0.0

    def wait_s(self, host: str, now_ms: int) -> float:
        """Seconds for which this host is not to be asked, at least: longer where its windows and those of the crawl do
        not meet then, so ask again."""
        return max(self.own_s(host, now_ms), self._crawl.wait_s(now_ms))

    def closed(self, now_ms: int) -> list[tuple[str, str]]:
        """Names of hosts that are outside hours of their own, and when these begin; first, without a name, the crawl
        itself where it is outside its hours."""
        all_hours = [("", self._crawl), *sorted(self._own.items())]
        return [(name, opens) for name, hours in all_hours if (opens := hours.opens(now_ms))]

    def opens(self, host: str, now_ms: int) -> str:
        """As `Hours.opens`, of the later one."""
        own = self._own.get(host, self._crawl)
        later = own if own.wait_s(now_ms) > self._crawl.wait_s(now_ms) else self._crawl
        return later.opens(now_ms)


def _within(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _parsed(window: str, where: str) -> tuple[int, int]:
    found = _WINDOW.fullmatch(window)
    if found:
        start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if start < _DAY and end <= _DAY and start != end and int(found[2]) < 60 and int(found[4]) < 60:
            return start, end
    raise SettingsError(
        f'{where} hours: {window!r} is no window of a day; write "22:00-06:00" or "00:00-24:00" (24 hours, '
        "begin and end differ)"
    )


def _zone(name: str, where: str) -> tzinfo:
    if not name:
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only who names a zone pays for it

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f'{where} zone: {name!r} is no time zone that this machine knows; write one as "Europe/Berlin", or '
            "leave it empty for UTC"
        ) from None
