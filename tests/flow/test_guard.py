"""The guard over real sockets: nothing that a page, a redirect, a robots.txt or a sitemap names reaches this machine's
other services, whatever its name; what the user named is crawled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

import crawler
from crawler.error import SiteError
from crawler.fetch import Fetcher
from crawler.guard import Guard
from crawler.model import Request
from crawler.tables import FetchTable
from tests.sites.echo import Echo

HANG_S = 60.0
ANY = FetchTable(content_types=(), connect_s=2.0, first_byte_s=5.0, total_s=10.0)
HTML = "200 OK\r\nContent-Type: text/html"
OURS, OTHERS = "127.0.0.1", "127.0.0.2"


@contextlib.contextmanager
def served() -> Iterator[Echo]:
    """A site at two addresses, in a thread of its own."""
    loop = asyncio.new_event_loop()
    site = Echo(OURS, OTHERS)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(site.__aenter__(), loop).result(HANG_S)
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(site.__aexit__(None, None, None), loop).result(HANG_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def guarded(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(HANG_S):
            return await main()

    return asyncio.run(limited())


async def reason(url: str, guard: Guard, settings: FetchTable = ANY) -> str:
    async with Fetcher(settings, guard=guard) as fetcher:
        try:
            await fetcher.fetch(Request(url=url))
        except SiteError as error:
            return error.reason
    return ""


def test_an_address_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        async with Echo() as site:
            for place in (f"127.0.0.1:{site.port}", f"localhost:{site.port}", f"[::1]:{site.port}"):
                assert await reason(f"http://{place}/", Guard()) == "guard"
            assert await reason(site.url(), Guard(named=[f"127.0.0.1:{site.port}"])) == ""
            assert await reason(f"http://localhost:{site.port}/", Guard(named=[f"localhost:{site.port}"])) == ""
            assert await reason(f"http://localhost:{site.port}/", Guard(named=["localhost"])) == "guard"
            assert await reason(f"http://localhost:{site.port}/", Guard(allow=["127.0.0.0/8"])) == ""
            assert len(site.asked) == 3

    guarded(main)


def test_the_safe_guard_is_the_default() -> None:
    async def main() -> None:
        async with Echo() as site, Fetcher(ANY) as fetcher:
            with pytest.raises(SiteError, match="guard"):
                await fetcher.fetch(Request(url=site.url()))
            assert site.asked == []

    guarded(main)


def test_every_hop_of_a_redirect_is_judged() -> None:
    async def main() -> None:
        async with Echo(OURS, OTHERS) as site:
            site.answers["/a"] = ("302 Found\r\nLocation: /b", "")
            site.answers["/b"] = (f"302 Found\r\nLocation: {site.url('/secret', OTHERS)}", "")
            guard = Guard(named=[f"{OURS}:{site.port}"])
            async with Fetcher(ANY, guard=guard) as fetcher:
                with pytest.raises(SiteError) as raised:
                    await fetcher.fetch(Request(url=site.url("/a")), follow=5)
            assert (raised.value.reason, raised.value.final, raised.value.status) == ("guard", True, 302)
            assert OTHERS in raised.value.detail
            assert site.paths() == ["/a", "/b"]

    guarded(main)


class Names:
    """What getaddrinfo answers for names of tests; it notes each question."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.known: dict[str, list[str]] = {}
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host not in self.known:
            return self._system(host, port, *rest, **options)
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in self.known[host]]


def test_only_the_address_that_passed_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)

    async def main() -> None:
        async with Echo(OURS, OTHERS) as site:
            url, guard = f"http://mixed.example:{site.port}/", Guard(allow=[OTHERS])
            names.known["mixed.example"] = [OURS, OTHERS]
            async with Fetcher(ANY, guard=guard) as fetcher:
                await fetcher.fetch(Request(url=f"{url}1"))
                names.known["mixed.example"] = [OURS]  # rebinding between two requests
                await fetcher.fetch(Request(url=f"{url}2"))
            assert names.asked == ["mixed.example"]
            assert await reason(f"{url}3", guard) == "guard"
            assert site.paths(OTHERS) == ["/1", "/2"]
            assert site.paths(OURS) == []

    guarded(main)


def test_one_look_up_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that changes with every question (time to live 0) is never asked for twice."""
    names = Names(monkeypatch)

    class Flipping(list[str]):
        def __iter__(self) -> Iterator[str]:
            return iter([OTHERS] if len(names.asked) == 1 else [OURS])

    async def main() -> None:
        async with Echo(OURS, OTHERS) as site:
            names.known["flip.example"] = Flipping()
            assert await reason(f"http://flip.example:{site.port}/x", Guard(allow=[OTHERS])) == ""
            assert site.paths(OURS) == []
            assert names.asked == ["flip.example"]

    guarded(main)


def test_heads_have_limits() -> None:
    async def main() -> None:
        async with Echo() as site:
            site.answers["/long"] = (f"{HTML}\r\nX-Long: {'x' * 20_000}", "")
            site.answers["/many"] = (HTML + "\r\nX-Many: 1" * 200, "")
            guard = Guard(named=[f"{OURS}:{site.port}"])
            for settings, reasons in (
                (ANY, ["", ""]),
                (FetchTable(header_bytes_max=10_000), ["protocol", ""]),
                (FetchTable(headers_max=100), ["", "protocol"]),
            ):
                assert [await reason(site.url(path), guard, settings) for path in ("/long", "/many")] == reasons

    guarded(main)


# -- crawls -----------------------------------------------------------------------------------------------------------


def links(site: Echo) -> str:
    port = site.port
    inside = [
        site.url("/secret", OTHERS),
        f"http://127.1:{port + 1}/",
        f"http://[::1]:{port}/",
        f"http://localhost:{port}/",
    ]
    inside += [
        f"http://0x7f000002:{port}/hex",
        f"http://[::ffff:127.0.0.2]:{port}/mapped",
        "http://169.254.169.254/latest",
    ]
    inside += [f"http://2130706434:{port}/decimal", f"http://0177.0.0.2:{port}/octal", f"https://{OURS}:25/"]
    return "".join(f'<a href="{url}">x</a>' for url in inside)


def crawled(site: Echo, state: Path, *options: str) -> None:
    """A crawl from the site's front page to its end."""
    words = ("--delay", "0", "-w", "1", "--state", str(state), "-o", f"{state}.jsonl", *options)
    done = run("run", site.url(), *words)
    assert done.returncode == 0, done.stderr


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crawler", *words],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env={**os.environ, "PYTHONPATH": str(Path(crawler.__file__).parents[1])},
        check=False,
        **options,
    )


def dead(state: Path) -> list[dict[str, Any]]:
    done = run("dead", "ls", "--state", str(state), "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("robots", ["true", "false"])
def test_a_crawl_reaches_nothing_beside_what_was_named(tmp_path: Path, robots: str) -> None:
    with served() as site:
        site.answers["/robots.txt"] = ("200 OK\r\nContent-Type: text/plain", "")
        site.answers["/"] = (HTML, f"{links(site)}<a href=/ok>ok</a><a href=/away>away</a>")
        site.answers["/ok"] = (HTML, "fine")
        site.answers["/away"] = (f"302 Found\r\nLocation: {site.url('/redirected', OTHERS)}", "")
        state = tmp_path / "crawl.db"
        crawled(site, state, "--set", 'crawl.hosts=["*"]', "--set", f"politeness.robots={robots}")
        assert site.paths(OTHERS) == []
        assert {"/", "/ok", "/away"} <= set(site.paths(OURS)) <= {"/", "/ok", "/away", "/robots.txt"}
        letters = dead(state)
        assert {letter["reason"] for letter in letters} == {"guard"}
        urls = {letter["request"]["url"] for letter in letters}
        assert site.url("/secret", OTHERS) in urls
        assert site.url("/redirected", OTHERS) in urls
        assert "http://169.254.169.254/latest" in urls
        assert len(urls) == 11
        assert all("guard.allow" in letter["detail"] for letter in letters)
        # What was refused can be brought back, once it is opened.
        allow = ("--set", f'guard.allow=["{OTHERS}:{site.port}"]', "--set", 'crawl.hosts=["*"]')
        assert run("dead", "kick", "--reason", "guard", "--state", str(state)).returncode == 0
        again = run("run", site.url(), "--delay", "0", "--state", str(state), "-o", f"{state}.jsonl", *allow, "--json")
        assert again.returncode == 0, again.stderr
        assert {"/secret", "/redirected", "/hex", "/decimal", "/octal"} == set(site.paths(OTHERS)) - {"/robots.txt"}


def test_a_robots_txt_may_not_redirect_inside(tmp_path: Path) -> None:
    with served() as site:
        site.answers["/robots.txt"] = (f"302 Found\r\nLocation: {site.url('/robots.txt', OTHERS)}", "")
        site.answers["/"] = (HTML, "fine")
        crawled(site, tmp_path / "crawl.db")
        assert site.paths(OTHERS) == []
        assert site.paths(OURS) == ["/robots.txt", "/"]


def test_a_list_on_the_web_names_nothing(tmp_path: Path) -> None:
    with served() as site:
        urls = f"<url><loc>{site.url('/a')}</loc></url><url><loc>{site.url('/b', OTHERS)}</loc></url>"
        site.answers["/sitemap.xml"] = ("200 OK\r\nContent-Type: application/xml", f"<urlset>{urls}</urlset>")
        index = f"<sitemap><loc>{site.url('/inner.xml', OTHERS)}</loc></sitemap>"
        site.answers["/index.xml"] = (
            "200 OK\r\nContent-Type: application/xml",
            f"<sitemapindex>{index}</sitemapindex>",
        )
        site.answers["/far.xml"] = (f"302 Found\r\nLocation: {site.url('/inner.xml', OTHERS)}", "")
        site.answers["/a"] = (HTML, "fine")
        words = [site.url(path) for path in ("/sitemap.xml", "/index.xml", "/far.xml")]
        state = str(tmp_path / "crawl.db")
        off = ("--set", "politeness.robots=false", "--set", 'crawl.hosts=["*"]')
        done = run("run", *words, "--delay", "0", "-w", "1", "--state", state, "-o", f"{state}.jsonl", *off)
        assert done.returncode == 0, done.stderr
        assert site.paths(OTHERS) == []
        assert "/a" in site.paths(OURS)
        assert "guard" in done.stderr
        assert [letter["reason"] for letter in dead(tmp_path / "crawl.db")] == ["guard"]


@pytest.mark.parametrize("how", ["url", "file", "stdin"])
def test_seeds_name_their_hosts_also_to_workers_that_run(tmp_path: Path, how: str) -> None:
    with served() as site:
        site.answers["/"] = site.answers["/more"] = (HTML, f'<a href="{site.url("/more", OTHERS)}">x</a>')
        state, far = str(tmp_path / "crawl.db"), site.url("/", OTHERS)
        common = ("--state", state, "--set", 'crawl.hosts=["*"]')
        assert run("seed", site.url(), *common).returncode == 0
        worker = subprocess.Popen(
            [sys.executable, "-m", "crawler", "work", "-n", "1", "--delay", "0", *common, "--quiet"],
            env={**os.environ, "PYTHONPATH": str(Path(crawler.__file__).parents[1])},
        )
        try:
            wait(lambda: [letter["reason"] for letter in dead(Path(state))] == ["guard"])
            assert site.paths(OTHERS) == []
            (tmp_path / "seeds.txt").write_text(f"{far}\n")
            source = {"url": far, "file": str(tmp_path / "seeds.txt"), "stdin": "-"}[how]
            assert run("seed", source, *common, input=f"{far}\n").returncode == 0
            wait(lambda: "/" in site.paths(OTHERS))
        finally:
            worker.terminate()
            worker.wait(HANG_S)


def wait(condition: Callable[[], bool]) -> None:
    end = monotonic() + HANG_S
    while not condition():
        assert monotonic() < end, "nothing came"
        sleep(0.1)


def test_fetch_shows_how_far_it_came_before_the_guard_refused() -> None:
    with served() as site:
        site.answers["/"] = (f"302 Found\r\nLocation: {site.url('/secret', OTHERS)}", "")
        done = run("fetch", site.url())
        assert done.returncode == 1
        assert [line.split()[0] for line in done.stderr.splitlines()[:2]] == ["302", "---"]
        assert (
            f'crawler: fetch: guard: {OTHERS} is loopback; guard.allow = ["{OTHERS}:{site.port}"] opens it'
            in done.stderr
        )
        found = json.loads(run("fetch", site.url(), "--json").stdout)
        assert found["failure"].startswith("guard: ")
        assert [hop["status"] for hop in found["hops"]] == [302, 0]
        assert site.paths(OTHERS) == []
        opened = run(
            "fetch", site.url(), "--set", f'guard.allow=["{OTHERS}"]', "--set", "fetch.content_types=[]", "--json"
        )
        assert json.loads(opened.stdout)["address"] == OTHERS
