"""Windows of hours: over midnight, by a zone's clock, on the days when it is put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crawler.error import SettingsError
from crawler.hours import HostHours, Hours
from crawler.settings import load
from crawler.tables import PolitenessHost, PolitenessTable

NIGHT = ("22:00-06:00",)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("windows", "zone", "now", "hours"),
    [
        ((), "", "2026-01-01T12:00", 0),
        (NIGHT, "", "2026-01-01T21:30", 0.5),
        (NIGHT, "", "2026-01-01T22:00", 0),
        (NIGHT, "", "2026-01-01T00:00", 0),
        (NIGHT, "", "2026-01-01T05:59", 0),
        (NIGHT, "", "2026-01-01T06:00", 16),
        (("00:00-24:00",), "", "2026-01-01T23:59", 0),
        (("01:00-02:00", "04:00-05:00"), "", "2026-01-01T02:00", 2),
        (("01:00-02:00", "04:00-05:00"), "", "2026-01-01T06:00", 19),
        (NIGHT, "Europe/Berlin", "2026-07-01T19:00", 1),
        (NIGHT, "Europe/Berlin", "2026-01-01T19:00", 2),
        (("08:00-09:00",), "Europe/Berlin", "2026-03-28T23:00", 7),  # at 02:00 it becomes 03:00
        (("08:00-09:00",), "Europe/Berlin", "2026-10-24T22:00", 9),  # at 03:00 it becomes 02:00 again
    ],
)
def test_how_long_it_is_until_one_opens(windows: tuple[str, ...], zone: str, now: str, hours: float) -> None:
    assert Hours(windows, zone).wait_s(at(now)) == hours * 3600


def test_an_hour_that_is_left_out_opens_all_the_same() -> None:
    hours = Hours(("02:30-04:00",), "Europe/Berlin")
    assert hours.wait_s(at("2026-03-29T00:59")) > 0
    assert hours.wait_s(at("2026-03-29T01:00")) == 0


def test_it_says_when() -> None:
    assert Hours(NIGHT, "Europe/Berlin").opens(at("2026-07-01T12:00")) == "2026-07-01T22:00+02:00"
    assert Hours(NIGHT).opens(at("2026-07-01T23:00")) == ""


@pytest.mark.parametrize(
    "window", ["", "22-06", "24:00-06:00", "06:00-06:00", "10:60-11:00", "10:00-24:01", "9:00-10:00"]
)
def test_what_is_no_window_is_refused(window: str) -> None:
    with pytest.raises(SettingsError, match=r"\[politeness\] hours: .*22:00-06:00"):
        Hours((window,))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "CET CET"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(SettingsError, match=r"\[politeness\] zone: .*Europe/Berlin"):
        Hours(NIGHT, zone)


class TestHostsOfTheirOwn:
    """A host's own windows narrow those of the crawl."""

    TABLE = PolitenessTable(
        hours=("20:00-24:00",),
        zone="Europe/Berlin",
        hosts={
            "all.example": PolitenessHost(delay_s=2.0),
            "late.example": PolitenessHost(hours=("22:00-23:00",)),
            "tokyo.example:8080": PolitenessHost(hours=("06:00-08:00",), zone="Asia/Tokyo"),
            "zone.example": PolitenessHost(zone="Asia/Tokyo"),
        },
    )

    @pytest.mark.parametrize(
        ("host", "now", "own", "both"),
        [
            ("other.example", "2026-07-01T12:00", 0, 6),
            ("all.example", "2026-07-01T18:00", 0, 0),
            ("late.example", "2026-07-01T18:00", 2, 2),
            ("late.example", "2026-07-01T20:00", 0, 0),
            ("late.example", "2026-07-01T12:00", 8, 8),
            ("tokyo.example:8080", "2026-07-01T18:00", 3, 3),
            ("tokyo.example:8080", "2026-07-01T21:00", 0, 0),
            ("tokyo.example:8080", "2026-07-01T22:00", 0, 20),
            ("tokyo.example", "2026-07-01T18:00", 0, 0),
            ("zone.example", "2026-07-01T18:00", 0, 0),
        ],
    )
    def test_how_long_a_host_is_closed(self, host: str, now: str, own: float, both: float) -> None:
        hours = HostHours(self.TABLE)
        assert (hours.own_s(host, at(now)), hours.wait_s(host, at(now))) == (own * 3600, both * 3600)

    def test_it_says_when(self) -> None:
        hours = HostHours(self.TABLE)
        assert hours.opens("tokyo.example:8080", at("2026-07-01T18:00")) == "2026-07-02T06:00+09:00"
        assert hours.opens("late.example", at("2026-07-01T12:00")) == "2026-07-01T22:00+02:00"
        assert hours.opens("other.example", at("2026-07-01T12:00")) == "2026-07-01T20:00+02:00"
        assert hours.opens("other.example", at("2026-07-01T20:00")) == ""

    @pytest.mark.parametrize("hosts", [{}, {"h.example": PolitenessHost(delay_s=1.0)}])
    def test_who_has_none(self, hosts: dict[str, PolitenessHost]) -> None:
        assert not HostHours(PolitenessTable(hours=NIGHT, hosts=hosts)).any_own

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ('{"h.example" = {hours = ["22-6"]}}', r'\[politeness.hosts."h.example"\] hours: .*22:00-06:00'),
            ('{"h.example" = {zone = "Mars"}}', r'\[politeness.hosts."h.example"\] zone: .*Europe/Berlin'),
        ],
    )
    def test_settings_are_checked(self, given: str, said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            load(None, overrides=[f"politeness.hosts={given}"])

    @pytest.mark.parametrize(
        ("crawl", "own", "zone", "fits"),
        [
            ('"22:00-06:00"', '"08:00-10:00"', "", False),
            ('"22:00-06:00"', '"06:00-22:00"', "", False),
            ('"22:00-06:00"', '"08:00-10:00", "05:59-06:30"', "", True),
            ('"22:00-06:00"', '"00:00-24:00"', "", True),
            ('"22:00-06:00"', '"08:00-10:00"', "Asia/Tokyo", True),
            ('"22:00-06:00"', '"08:30-09:00"', "Europe/Berlin", False),
            # in summer only
            ('"22:00-06:00"', '"07:30-08:00"', "Europe/Berlin", True),
            ("", '"08:00-10:00"', "", True),
        ],
    )
    def test_a_host_that_is_never_open_is_refused(self, crawl: str, own: str, zone: str, fits: bool) -> None:
        given = [
            f"politeness.hours=[{crawl}]",
            f'politeness.hosts={{"h.example" = {{hours = [{own}], zone = "{zone}"}}}}',
        ]
        if fits:
            assert load(None, overrides=given).politeness.hosts
        else:
            with pytest.raises(SettingsError, match=r'hosts."h.example"\] hours: never within those of \[politeness\]'):
                load(None, overrides=given)

    def test_hours_alone_are_no_pace_of_its_own(self) -> None:
        given = 'politeness.hosts={"h.example" = {hours = ["22:00-06:00"]}, "i.example" = {delay_s = 2.0}}'
        assert set(load(None, overrides=[given]).own()) == {"i.example"}
