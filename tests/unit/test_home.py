"""Which crawl the settings and --state name, and that what may hold a password is not shown."""

from __future__ import annotations

import pytest

from crawler import home
from crawler.error import SettingsError
from crawler.settings import FrontierTable, Settings

SECRET = "s3cr3t"


def state(url: str, given: str | None = None, name: str = "shop") -> str:
    return home.state_of(Settings(frontier=FrontierTable(url=url)), name, given)


@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        ("", None, ".crawler/shop.db"),
        ("", "x.db", "x.db"),
        ("sqlite:y.db", None, "y.db"),
        ("memory:", None, "memory:"),
        ("redis://h", None, "redis:shop"),
        ("REDIS://h", None, "redis:shop"),
        ("Rediss+Cluster://h,i", None, "redis:shop"),
        ("redis://h/0#news", None, "redis:news"),
        ("redis://h/0#my%2Dnews", None, "redis:my-news"),
        ("redis://u:se#cr3t@h/0", None, "redis:shop"),
        ("redis://u:se#cr3t@h/0#news", None, "redis:news"),
        ("redis://h", "other", "redis:other"),
        ("redis://h", "redis:a.db", "redis:a.db"),
        ("redis://h", "a.db", "a.db"),
    ],
)
def test_which_crawl_is_meant(url: str, given: str | None, expected: str) -> None:
    assert state(url, given) == expected


@pytest.mark.parametrize(
    ("url", "given", "says"),
    [
        (f"redis:crawler:{SECRET}@127.0.0.1", None, "two slashes are missing behind redis:"),
        (f"rediss:crawler:{SECRET}@127.0.0.1", None, "two slashes are missing behind rediss:"),
        (f"redis+cluster:{SECRET}@127.0.0.1", None, "two slashes are missing"),
        ("", f"redis:crawler:{SECRET}@127.0.0.1", "frontier.url must name the server"),
        ("", f"redis://:{SECRET}@h", "a server's URL goes into frontier.url"),
        (f"postgres://u:{SECRET}@h", None, "postgres: is not known"),
        ("redis://h/0#../x", None, "crawl name"),
        ("", None, "a name, not a path"),
    ],
)
def test_what_a_mistake_says(url: str, given: str | None, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        state(url, given, name="../esc" if "path" in says else "shop")
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)
