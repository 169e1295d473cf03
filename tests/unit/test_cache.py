"""The cache for development: what comes back, for whom, how long, and what is never kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from crawler.cache import Cache
from crawler.error import SettingsError, SiteError
from crawler.model import Request
from crawler.response import Response
from crawler.tables_visit import CacheTable

URL = "http://a.test/x"
GET = Request(url=URL)
Open = Callable[..., Cache]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    caches: list[Cache] = []

    def make(form: tuple[str, ...] = (), **fields: Any) -> Cache:
        caches.append(Cache(CacheTable(path=str(tmp_path / "deep" / "cache"), **fields), form))
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


def answer(body: bytes = b"<p>", status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        url=URL, status=status, headers=CIMultiDict(named), body=body, charset="utf-8", wire_bytes=len(body)
    )


def body(found: Response | SiteError | None) -> bytes | None:
    return found.body if isinstance(found, Response) else None


def test_it_comes_back_as_it_was(opened: Open) -> None:
    given = answer(b"\0\xff" * 5_000, content_type="Text/HTML", x_robots_tag="caf\udce9")
    opened().put(GET, given)
    found = opened().get(GET)
    assert isinstance(found, Response)
    assert (found.body, found.url, found.status, found.charset, found.wire_bytes) == (
        *(given.body, URL, 200, "utf-8", 10_000),
    )
    assert found.headers["content-TYPE"] == "Text/HTML"
    assert found.headers["X-Robots-Tag"] == "caf\xe9"
    assert found.kept


def test_redirects_and_skipped_types_too(opened: Open) -> None:
    cache = opened()
    cache.put(GET, Response(url=URL, status=301, headers={}, redirect="http://a.test/y"))
    found = cache.get(GET)
    assert isinstance(found, Response)
    assert found.redirect == "http://a.test/y"


def test_requests_are_told_apart(opened: Open) -> None:
    cache = opened()
    cache.put(GET, answer(b"get"))
    cache.put(Request(url=URL, method="POST", body=b"1"), answer(b"post 1"))
    cache.put(GET, answer(b"robots"), robots=True)
    assert body(cache.get(GET)) == b"get"
    assert body(cache.get(Request(url=URL, method="POST", body=b"1"))) == b"post 1"
    assert body(cache.get(GET, robots=True)) == b"robots"
    assert cache.get(Request(url=URL, method="POST", body=b"2")) is None
    assert cache.get(Request(url=f"{URL}/")) is None
    cache.put(GET, answer(b"newer"))
    assert body(cache.get(GET)) == b"newer"


def test_vary(opened: Open) -> None:
    cache = opened()
    english, french = (Request(url=URL, headers=(("Accept-Language", name), ("X", "1"))) for name in ("en", "fr"))
    cache.put(english, answer(b"hello", vary="accept-language, Accept-Encoding"))
    assert body(cache.get(english)) == b"hello"
    assert cache.get(french) is None
    assert cache.get(GET) is None
    cache.put(french, answer(b"salut", vary="Accept-Language,accept-encoding"))
    assert [body(cache.get(one)) for one in (english, french)] == [b"hello", b"salut"]
    assert body(cache.get(Request(url=URL, headers=(("accept-language", "en "), ("X", "2"))))) == b"hello"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (SiteError("http_404", "Not Found", final=True, status=404), True),
        (SiteError("http_429", blame="host", status=429), False),
        (SiteError("http_500", status=500), False),
        (SiteError("connect", blame="host"), False),
        (SiteError("body_max", final=True), False),
        (answer(status=304), False),
        (answer(vary="*"), False),
        (answer(), True),
    ],
)
def test_what_would_come_again_is_kept(opened: Open, given: Response | SiteError, kept: bool) -> None:
    cache = opened()
    cache.put(GET, given)
    found = cache.get(GET)
    assert (found is not None) is kept
    if isinstance(found, SiteError) and isinstance(given, SiteError):
        assert (found.reason, found.detail, found.status, found.final) == ("http_404", "Not Found", 404, True)


def test_age(opened: Open) -> None:
    opened().put(GET, answer())
    assert opened(max_age_s=60.0).get(GET) is not None
    time.sleep(0.02)
    assert opened(max_age_s=0.01).get(GET) is None
    assert opened().get(GET) is not None


def test_other_settings_have_other_answers(opened: Open) -> None:
    opened(("standard", "text/html")).put(GET, answer(b"one"))
    assert opened(("standard", "text/html", "image/png")).get(GET) is None
    assert body(opened(("standard", "text/html")).get(GET)) == b"one"


def test_the_oldest_go_when_it_is_full(opened: Open, tmp_path: Path) -> None:
    cache = opened(bytes_max=100_000)
    noise = bytes(range(256)) * 8
    for number in range(401):
        head = number.to_bytes(4)
        cache.put(Request(url=f"{URL}{number}"), answer(b"".join(head + noise[at::7] for at in range(7))))
    size = sqlite3.connect(tmp_path / "deep" / "cache").execute("SELECT sum(size) FROM response").fetchone()[0]
    assert size <= 100_000
    assert cache.get(Request(url=f"{URL}0")) is None
    assert cache.get(Request(url=f"{URL}400")) is not None


def test_set_cookies_are_not_kept(opened: Open) -> None:
    cache = opened()
    cache.put(GET, Response(url=URL, status=200, headers={"Set-Cookie": "secret=1", "A": "b"}))
    found = cache.get(GET)
    assert isinstance(found, Response)
    assert dict(found.headers) == {"A": "b"}


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at as one" * 9)
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE mine(x)")
    (tmp_path / "folder").mkdir()
    for name in ("text", "other", "folder", "text/below"):
        with pytest.raises(SettingsError, match=r"\[cache\] path"):
            Cache(CacheTable(path=str(tmp_path / name)))
    assert sqlite3.connect(tmp_path / "other").execute("SELECT count(*) FROM mine").fetchone() == (0,)


def test_an_older_version_begins_anew_and_damage_is_no_answer(opened: Open, tmp_path: Path) -> None:
    cache = opened()
    cache.put(GET, answer())
    with sqlite3.connect(tmp_path / "deep" / "cache") as db:
        db.execute("UPDATE response SET body = x'00'")
    assert cache.get(GET) is None
    with sqlite3.connect(tmp_path / "deep" / "cache") as db:
        db.execute("PRAGMA user_version = 99")
    assert opened().get(GET) is None
    opened().put(GET, answer(b"new"))
    assert body(opened().get(GET)) == b"new"
