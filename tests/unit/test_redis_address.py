"""Redis URLs: what each form means, what each mistake says, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawler.error import SettingsError
from crawler.frontier.redis.address import Address, parse, split
from crawler.home import is_redis
from crawler.settings import load
from crawler.tables import RedisTable

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"hosts": (("h", 6379),)}),
        ("REDIS://h", {"hosts": (("h", 6379),)}),
        ("redis://h:7000/3", {"hosts": (("h", 7000),), "db": 3}),
        ("redis://h/", {"hosts": (("h", 6379),)}),
        ("redis://h/0#shop", {"hosts": (("h", 6379),)}),
        ("redis://:s3cr3t@h", {"hosts": (("h", 6379),), "password": SECRET, "shown": "redis://:***@h"}),
        ("redis://u:s3cr3t@h/1", {"hosts": (("h", 6379),), "user": "u", "password": SECRET, "db": 1}),
        ("redis://u@h", {"hosts": (("h", 6379),), "user": "u", "shown": "redis://u@h"}),
        ("redis://u%40x:a%2Fb%40c@h", {"hosts": (("h", 6379),), "user": "u@x", "password": "a/b@c"}),
        ("redis://u:a/b?c#d@e@h:1/2#me", {"hosts": (("h", 1),), "user": "u", "password": "a/b?c#d@e", "db": 2}),
        ("redis://:a:b@h", {"hosts": (("h", 6379),), "password": "a:b", "shown": "redis://:***@h"}),
        ("redis://[::1]:7000/0", {"hosts": (("::1", 7000),)}),
        ("redis://u:s3cr3t@[fe80::1%25eth0]", {"hosts": (("fe80::1%eth0", 6379),), "user": "u", "password": SECRET}),
        ("rediss://h", {"hosts": (("h", 6379),), "tls": True}),
        ("redis+unix:///run/r.sock", {"kind": "unix", "path": "/run/r.sock"}),
        ("unix:///run/r.sock?db=4#shop", {"kind": "unix", "path": "/run/r.sock", "db": 4}),
        (
            "redis+unix://u:s3cr3t@/a%20b@c.sock",
            {"kind": "unix", "path": "/a b@c.sock", "user": "u", "password": SECRET},
        ),
        ("redis+sentinel://a/crawl", {"kind": "sentinel", "hosts": (("a", 26379),), "primary": "crawl"}),
        (
            "redis+sentinel://u:s3cr3t@a:1,b,[::1]:3/crawl/5",
            {
                "kind": "sentinel",
                "hosts": (("a", 1), ("b", 26379), ("::1", 3)),
                "primary": "crawl",
                "db": 5,
                "user": "u",
                "password": SECRET,
                "shown": "redis+sentinel://u:***@a:1,b,[::1]:3/crawl/5",
            },
        ),
        ("rediss+sentinel://a/c", {"kind": "sentinel", "hosts": (("a", 26379),), "primary": "c", "tls": True}),
        ("redis+cluster://a:7000,b", {"kind": "cluster", "hosts": (("a", 7000), ("b", 6379))}),
        ("rediss+cluster://a/", {"kind": "cluster", "hosts": (("a", 6379),), "tls": True}),
    ],
)
def test_what_a_url_means(url: str, expected: dict[str, Any]) -> None:
    address = parse(url, RedisTable())
    given = {"kind": "single", "shown": address.shown} | expected
    assert address == Address(**given)
    assert is_redis(url)
    for text in (repr(address), str(address), f"{address}", address.shown, str(list(address.__rich_repr__()))):
        assert not address.password or address.password not in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:x", "sqlite: is not known; Redis is one of redis, rediss"),
        ("redis:h", "two slashes are missing behind redis:"),
        ("redis://", "a host is missing"),
        ("redis://:s3cr3t@", "redis://:***@: a host is missing"),
        ("redis://h,,i", "a host is missing"),
        ("redis://h:", "behind a host's colon stands its port"),
        ("redis://h:x", "behind a host's colon stands its port"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:65536", "1 to 65535"),
        ("redis://h:٣", "1 to 65535"),
        ("redis://::1:6379", "an IPv6 address stands in brackets, as in [::1]:6379"),
        ("redis://a,b", "several hosts; write redis+sentinel:// or redis+cluster://"),
        ("redis://u:s3cr3t@h/shop", "redis://u:***@h/shop: database 'shop' is not a number"),
        ("redis://h/-1", "database '-1' is not a number"),
        ("redis://h/0/shop", "'shop' behind the database; the crawl's name stands behind a #"),
        ("redis://h?db=1", "nothing is known behind the ?"),
        ("redis+sentinel://a,b", "expected the name of the primary behind the hosts"),
        ("redis+sentinel://a/crawl/x", "database 'x' is not a number"),
        ("redis+cluster://a/1", "a Cluster has only database 0"),
        ("redis+unix://run/r.sock", "expected the whole path of a socket"),
        ("redis+unix://", "expected the whole path of a socket"),
        ("redis+unix:///r.sock?dbb=1", "dbb is not known behind the ?; only ?db=0 is"),
        ("redis+unix:///r.sock?db=x", "database 'x' is not a number"),
    ],
)
def test_what_a_mistake_says(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=r"^frontier\.url") as raised:
        parse(url, RedisTable())
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h/0#shop", ("redis://h/0", "shop")),
        ("redis://h/0", ("redis://h/0", "")),
        ("redis://h#", ("redis://h", "")),
        ("redis://:a#b@h#two%20words", ("redis://:a#b@h", "two words")),
        ("unix:///r.sock?db=1#x#y", ("unix:///r.sock?db=1", "x#y")),
    ],
)
def test_the_fragment_is_the_crawls(url: str, parts: tuple[str, str]) -> None:
    assert split(url) == parts


@pytest.mark.parametrize("url", ["", "redis", "memory:", "sqlite:redis://x", "http://h", "/redis://"])
def test_other_urls_are_not_ours(url: str) -> None:
    assert not is_redis(url)


def test_who_we_are_can_stand_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"  {SECRET} \nsecond line\n")
    for table in (RedisTable(user="u", password=SECRET), RedisTable(user="u", password_file=str(file))):
        address = parse("redis://h", table)
        assert (address.user, address.password, address.shown) == ("u", SECRET, "redis://h")
    assert parse("redis://u@h", RedisTable(user="u", password=SECRET)).password == SECRET


def test_a_password_from_the_environment_is_not_shown_by_the_settings() -> None:
    settings = load(None, environ={"CRAWLER__REDIS__PASSWORD": SECRET, "CRAWLER__REDIS__SENTINEL_PASSWORD": SECRET})
    assert parse("redis://h", settings.redis).password == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.redis.__rich_repr__()}"
    assert "password='***'" in repr(settings)
    in_url = load(None, overrides=[f"frontier.url=redis://u:a/b@{SECRET}@h/0"])
    assert "url='redis://***@h/0'" in repr(in_url)


def test_a_password_that_is_no_string_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[redis]\npassword = 1234\n")
    with pytest.raises(SettingsError, match=r"\[redis\] password: expected a string, found \*\*\*"):
        load(str(file))


def test_what_contradicts_or_is_missing(tmp_path: Path) -> None:
    empty, latin, there = tmp_path / "empty", tmp_path / "latin", tmp_path / "there"
    empty.write_text("\n")
    latin.write_bytes(b"\xe9\n")
    there.write_text(SECRET)
    cases: list[tuple[str, RedisTable, str]] = [
        ("redis://:x@h", RedisTable(password=SECRET), "frontier.url and [redis] password: both give a password"),
        ("redis://h", RedisTable(password=SECRET, password_file=str(there)), "[redis] password and [redis] password_f"),
        ("redis://a@h", RedisTable(user="b"), "its user is not the b of [redis] user"),
        ("redis://h", RedisTable(password_file=str(tmp_path / "none")), "no such file"),
        ("redis://h", RedisTable(password_file=str(tmp_path)), "cannot be read"),
        ("redis://h", RedisTable(password_file=str(empty)), "its first line, the password, is empty"),
        ("redis://h", RedisTable(password_file=str(latin)), "not text in UTF-8"),
        ("redis://h", RedisTable(ca_file=str(there)), "[redis] ca_file: redis://h is without TLS; write rediss://"),
        ("rediss://h", RedisTable(ca_file=str(tmp_path / "none")), "[redis] ca_file"),
        ("rediss://h", RedisTable(key_file=str(there)), "set cert_file too"),
        ("redis://h", RedisTable(replicas=1, replicas_wait_s=10), "must be less than timeout_s = 10"),
    ]
    for url, table, says in cases:
        with pytest.raises(SettingsError) as raised:
            parse(url, table)
        assert says in str(raised.value)
        assert SECRET not in str(raised.value)
