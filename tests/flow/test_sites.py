"""The scaffolding itself: the walk must find what a server serves, the private nginx must log what was asked."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites.nginx import Hit, Nginx
from tests.sites.walk import hrefs, walk

FILES = {
    "index.html": '<a href="a.html#top">a</a> <a href="a.html">again</a> <A HREF=\'dir\'>dir</A> <a>no href</a>'
    '<a href="https://elsewhere.example/">out</a> <a href="mailto:x@example.org">mail</a> <link href="style.css">',
    "a.html": '<map><area href="/gone.html"></map> <a href="data.txt?x=1&amp;y=2">file</a> <a href="?page=2">query</a>',
    "dir/index.html": '<base href="/other/"> <a href="b%20b.html">based</a> <!-- <a href="/hidden.html"> -->',
    "other/b b.html": '<script>"<a href=/script.html>"</script> <a href=" ../index.html ">home</a>',
    "hidden.html": "nobody links here",
    "data.txt": '<a href="/from-text.html">not a document</a>',
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("site")
    for name, body in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
    with Nginx(root) as running:
        yield running


def status(site: Nginx, target: str, host: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", target, headers={"Host": host} if host else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def last_hit(site: Nginx, path: str) -> Hit:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if found := [hit for hit in site.hits() if hit.path == path]:
            return found[-1]
        time.sleep(0.01)
    raise AssertionError(f"{path} was not logged: {site.hits()}")


def test_walk_finds_what_is_linked(site: Nginx) -> None:
    found = walk(Path(site.root), site.url + "/index.html")
    paths = {kind: {url.removeprefix(site.url) for url in getattr(found, kind)} for kind in found.__annotations__}
    assert paths["pages"] == {"/index.html", "/a.html", "/a.html?page=2", "/dir/", "/other/b%20b.html"}
    assert paths["files"] == {"/data.txt?x=1&y=2"}
    assert paths["redirects"] == {"/dir"}
    assert paths["missing"] == {"/gone.html"}
    assert {url.removeprefix(site.url): depth for url, depth in found.depth.items()} == {
        "/index.html": 0,
        "/a.html": 1,
        "/dir": 1,
        "/dir/": 1,
        "/gone.html": 2,
        "/data.txt?x=1&y=2": 2,
        "/a.html?page=2": 2,
        "/other/b%20b.html": 2,
    }


def test_walk_agrees_with_the_server(site: Nginx) -> None:
    found = walk(Path(site.root), site.url + "/index.html")
    expected = dict.fromkeys(found.pages | found.files, 200) | dict.fromkeys(found.redirects, 301)
    expected |= dict.fromkeys(found.missing, 404)
    assert {url: status(site, url.removeprefix(site.url)) for url in expected} == expected


def test_log_tells_who_was_asked_for_what_and_when(site: Nginx) -> None:
    before = time.time()
    assert status(site, "/a.html?q=%22quoted%22", host="shop.example:81") == 200
    hit = last_hit(site, "/a.html?q=%22quoted%22")
    assert (hit.host, hit.address, hit.method, hit.status) == ("shop.example:81", "127.0.0.1", "GET", 200)
    assert hit.bytes == len(FILES["a.html"])
    assert before - 0.01 <= hit.start <= hit.end <= time.time() + 0.01


def test_bad_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        Nginx(tmp_path, server="nonsense on;").start()


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    with Nginx(tmp_path) as running:
        home, port = running.home, running.port
        assert home.is_dir()
    assert not home.exists()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()


@pytest.mark.parametrize(
    ("html", "expected", "base"),
    [
        ("<a href=x>", ("x",), ""),
        ("<a href='x&amp;y'>", ("x&y",), ""),
        ("<base href=/p/><base href=/q/><a href=x>", ("x",), "/p/"),
        ("<a name=x><a href><link href=y>", (), ""),
    ],
)
def test_hrefs(html: str, expected: tuple[str, ...], base: str) -> None:
    assert hrefs(html) == (expected, base)
