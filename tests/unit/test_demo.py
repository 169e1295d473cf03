"""The demo shop: what it promises is what a walk over it finds, whoever serves it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest

from crawler.demo.__main__ import RUN_DEFAULTS, main, run_arguments
from crawler.demo.export import export
from crawler.demo.serve import Service, listen, names, serve
from crawler.demo.shop import FLAKY_FAILURES, PER_SITEMAP, Reply, Shop
from crawler.demo.size import size_of

HREF = re.compile(r'<a [^>]*href="([^"]*)"')
SLOW = b"GET /slow.html HTTP/1.1\r\nHost: @\r\n\r\n"
MOVED = (301, 302, 307)


def split(url: str) -> tuple[str, str]:
    host, _, path = url.removeprefix("http://").partition("/")
    return f"/{path}", host


def walk(get: Callable[[str], Reply], seed: str) -> tuple[set[str], Counter[int]]:
    """Every page that links lead to from the seed, baskets aside, and how often which status came."""
    waiting, seen, pages, statuses = [seed], {seed}, set(), Counter[int]()
    while waiting:
        url = waiting.pop()
        if "/basket/" in url:
            continue
        reply = get(url)
        statuses[reply.status] += 1
        links = [reply.headers["Location"]] if reply.status in MOVED else []
        if reply.status == 200:
            pages.add(url)
            links = HREF.findall(reply.body.decode())
        for link in links:
            target = urljoin(url, link)
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return pages, statuses


@pytest.mark.parametrize(
    ("pages", "hosts", "faults"),
    [(8, 1, True), (8, 1, False), (1_200, 4, True), (1_201, 1, False), (97, 12, True), (2_503, 50, True)],
)
def test_a_walk_finds_exactly_the_promised_pages(pages: int, hosts: int, faults: bool) -> None:
    shop = Shop(pages=pages, hosts=names(8000, hosts), faults=faults)
    promised = list(shop.urls())
    assert len(promised) == len(set(promised)) == pages
    found, statuses = walk(lambda url: shop.page(*split(url), failures=9), shop.seeds()[-1])
    assert found == set(promised)
    assert statuses[404] == len(list(shop.missing()))
    assert sum(statuses[status] for status in MOVED) == len(list(shop.redirects()))
    assert set(statuses) <= ({200, 301, 302, 307, 404} if faults else {200})


def test_the_same_numbers_make_the_same_shop_and_others_another() -> None:
    def bodies(seed: int) -> list[bytes]:
        shop = Shop(pages=60, hosts=("a:1", "b:1"), seed=seed)
        return [shop.page(*split(url), failures=9).body for url in shop.urls()]

    assert bodies(1) == bodies(1)
    assert bodies(1) != bodies(2)
    assert len(set(bodies(1))) == 60


def test_a_host_has_exactly_its_pages() -> None:
    assert [pages for pages in range(3, 2_000) if size_of(pages).pages() != pages] == []


def test_pages_look_like_pages() -> None:
    shop = Shop(pages=1_200, hosts=("a:1",))
    sizes = [len(shop.page(*split(url), failures=9).body) for url in shop.urls()]
    assert min(sizes) > 3_000
    assert max(sizes) < 12_000
    assert 4_000 < sum(sizes) / len(sizes) < 8_000


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/shop.css", 200),
        ("/robots.txt", 200),
        ("/c/1.html", 200),
        ("/c/1-1.html", 404),
        ("/c/1-999.html", 404),
        ("/c/0.html", 404),
        ("/p/0.html", 404),
        ("/p/01.html", 404),
        ("/p/1-2.html", 404),
        ("/p/99999999999999999999.html", 404),
        ("/p/٣.html", 404),
        ("/info/arrived.html", 200),
        ("/go/4.html", 404),
        ("/old/8.html", 404),
        ("/sitemap-1.xml", 404),
        ("/<script>", 404),
        ("", 404),
    ],
)
def test_paths(path: str, status: int) -> None:
    assert Shop(pages=100, hosts=("a:1",)).page(path, "a:1").status == status


def test_another_host_is_not_served() -> None:
    assert Shop(pages=100, hosts=("a:1",)).page("/", "b:1").status == 421


@pytest.mark.parametrize(("pages", "hosts"), [(7, 1), (15, 2), (100, 0)])
def test_a_shop_that_is_too_small(pages: int, hosts: int) -> None:
    with pytest.raises(ValueError, match="a host has at least 8"):
        Shop(pages=pages, hosts=("a",) * hosts)


def test_the_sitemap_names_all_products_and_grows_into_an_index() -> None:
    def locations(path: str) -> list[str]:
        return re.findall("<loc>(.*?)</loc>", shop.page(path, "a:1").body.decode())

    for pages in (100, 2 * PER_SITEMAP):
        shop = Shop(pages=pages, hosts=("a:1",))
        found = locations("/sitemap.xml")
        if pages > PER_SITEMAP:
            assert found == ["http://a:1/sitemap-1.xml", "http://a:1/sitemap-2.xml"]
            found = [url for one in found for url in locations(split(one)[0])]
        assert sorted(found) == sorted(url for url in shop.urls() if "/p/" in url)


def test_flaky_fails_twice_and_then_works() -> None:
    service = Service(Shop(pages=100, hosts=("a:1",)))
    statuses = [service.answer("/flaky.html", "a:1").status for _ in range(FLAKY_FAILURES + 2)]
    assert statuses == [500] * FLAKY_FAILURES + [200, 200]


def test_export(tmp_path: Path) -> None:
    shop = Shop(pages=120, hosts=("127.0.0.1:80", "127.0.0.2:80"))
    count = export(shop, str(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "redirects.map"]
    assert count == len(files) == 120 + 2 * 3
    for url in shop.urls():
        path, host = split(url)
        body = (tmp_path / host.partition(":")[0] / (path[1:] or "index.html")).read_bytes()
        assert body == shop.page(path, host, failures=9).body
    lines = (tmp_path / "redirects.map").read_text().splitlines()
    assert '"127.0.0.2/go/1.html" "http://127.0.0.2:80/go/2.html";' in lines
    assert len(lines) == len(list(shop.redirects()))


async def talk(data: list[bytes], replies: int) -> bytes:
    """What the server says to these pieces of bytes, up to so many replies or the end."""
    stop = asyncio.Event()
    server = listen(0)
    port = server.getsockname()[1]
    shop = Shop(pages=20, hosts=names(port, 1))
    task = asyncio.create_task(serve(Service(shop), server, stop))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        for piece in data:
            writer.write(piece.replace(b"@", b"127.0.0.1:%d" % port))
            await writer.drain()
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while got.count(b"HTTP/1.1 ") < replies or not got.endswith(
                (b"\n\r\n", b"</html>\n", b"HEAD\n", b"host\n")
            ):
                piece = await reader.read(65_536)
                if not piece:
                    break
                got += piece
    finally:
        writer.close()
        stop.set()
        await task
    return got


@pytest.mark.parametrize(
    ("data", "replies", "statuses"),
    [
        ([b"GET / HTTP/1.1\r\nHost: @\r\n\r\n"], 1, ["200 OK"]),
        ([b"GET / HT", b"TP/1.1\r\nHOST: @\r", b"\n\r\n"], 1, ["200 OK"]),
        ([b"GET /?a=b HTTP/1.1\r\nHost: @\r\n\r\n" * 3], 3, ["200 OK"] * 3),
        ([SLOW + b"GET /x HTTP/1.1\r\nHost: @\r\n\r\n"], 2, ["200 OK", "404 Not Found"]),
        ([b"HEAD / HTTP/1.1\r\nHost: @\r\n\r\n"], 1, ["200 OK"]),
        ([b"POST / HTTP/1.1\r\nHost: @\r\n\r\n"], 1, ["405 Method Not Allowed"]),
        ([b"GET / HTTP/1.1\r\nHost: @\r\nConnection: close\r\n\r\n"], 9, ["200 OK"]),
        ([b"GET / HTTP/1.1\r\n\r\n"], 1, ["421 Misdirected Request"]),
        ([b"x" * 70_000], 1, []),
    ],
)  # fmt: skip
def test_serving(data: list[bytes], replies: int, statuses: list[str]) -> None:
    try:
        got = asyncio.run(talk(data, replies))
    except ConnectionError:
        got = b""
    assert re.findall(r"HTTP/1\.1 (\d+ [^\r]*)\r", got.decode()) == statuses
    if data[0].startswith(b"HEAD"):
        assert got.endswith(b"\r\n\r\n")


def test_the_command_serves_until_its_input_ends() -> None:
    command = [sys.executable, "-m", "crawler.demo", "--pages", "20", "--port", "0", "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as site:
        assert site.stdin is not None
        assert site.stdout is not None
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", site.stdout.readline())
        site.stdin.close()
        assert site.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--pages", "3"], "a host has at least 8"), (["--hosts", "251"], "expected 1 to 250")],
)
def test_the_command_refuses_what_makes_no_shop(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--port", "0"]) == 2
    assert message in capsys.readouterr().err


def test_the_commands_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pages", "20", "--no-faults", "--export", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"23 files below {tmp_path}\n"


def test_what_run_gives_to_the_crawl() -> None:
    defaults = [text for options, value in RUN_DEFAULTS for text in (options[-1], value)]
    defaults += ["--set", "crawl.name=demo"]
    assert run_arguments([]) == [*defaults, "--fresh"]
    assert run_arguments(["-w", "4", "-o", "x.csv", "--delay=1", "--fresh"]) == [
        *("-w", "4", "-o", "x.csv", "--delay=1", "--fresh"),
        *("--per-host", "0", "--set", "crawl.name=demo"),
    ]
