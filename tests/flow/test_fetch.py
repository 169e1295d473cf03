"""The fetcher against a site that misbehaves, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from crawler.error import SiteError
from crawler.fetch import Fetcher
from crawler.guard import Guard
from crawler.model import Request
from crawler.response import Response
from crawler.robots import ROBOTS_BYTES_MAX
from crawler.tables import FetchTable
from crawler.version import VERSION
from tests.sites.nasty import PAGE, Nasty

GUARD_S = 30.0
OPEN = Guard(allow=["127.0.0.1"])
QUICK = FetchTable(connect_s=5.0, first_byte_s=0.5, total_s=1.5, body_bytes_max=2_000_000, decoded_bytes_max=8_000_000)
PATIENT = FetchTable(body_bytes_max=2_000_000, decoded_bytes_max=8_000_000)

Use = Callable[[Fetcher, Nasty], Awaitable[Any]]


def with_site(use: Use, settings: FetchTable = PATIENT) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(GUARD_S), Nasty() as site, Fetcher(settings, guard=OPEN) as fetcher:
            return await use(fetcher, site)

    return asyncio.run(main())


def fetched(path: str, settings: FetchTable = PATIENT, **options: Any) -> Response:
    async def use(fetcher: Fetcher, site: Nasty) -> Response:
        return await fetcher.fetch(Request(url=site.url(path)), **options)

    response = with_site(use, settings)
    assert isinstance(response, Response)
    return response


def failed(path: str, settings: FetchTable = PATIENT, **options: Any) -> SiteError:
    with pytest.raises(SiteError) as raised:
        fetched(path, settings, **options)
    return raised.value


@pytest.mark.parametrize(
    "path",
    [
        "/fine",
        "/no-type",
        "/gzip",
        "/deflate",
        "/raw-deflate",
        "/br",
        "/zstd",
        "/until-closed",
        "/chunks",
        "/then-close",
    ],
)
def test_a_page_arrives_whole(path: str) -> None:
    response = fetched(path)
    assert (response.status, response.body, response.redirect, response.skipped) == (200, PAGE, None, "")
    assert 0 < response.wire_bytes <= len(PAGE)
    assert response.seconds > 0
    assert response.fetched_at.endswith("Z")


def test_what_a_response_says() -> None:
    response = fetched("/fine")
    assert (response.content_type, response.charset) == ("text/html", "utf-8")
    assert response.headers["content-TYPE"] == "text/html; charset=utf-8"
    assert response.url.endswith("/fine")


@pytest.mark.parametrize("path", ["/empty", "/plain-204"])
def test_a_page_may_be_empty(path: str) -> None:
    assert fetched(path).body == b""


def test_other_content_types_are_not_read() -> None:
    response = fetched("/image")
    assert (response.skipped, response.body) == ("content_type", b"")
    assert fetched("/image", any_type=True).body.startswith(b"\x89PNG")
    assert fetched("/image", FetchTable(content_types=())).body.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "reason", "final", "blame"),
    [
        ("/404", "http_404", True, "page"),
        ("/410", "http_410", True, "page"),
        ("/408", "http_408", False, "page"),
        ("/429", "http_429", False, "host"),
        ("/500", "http_500", False, "page"),
        ("/503", "http_503", False, "host"),
        ("/999", "http_999", False, "page"),
        ("/300", "http_300", True, "page"),
        ("/304", "http_304", True, "page"),
        ("/redirect-nowhere", "http_302", True, "page"),
        ("/redirect-mail", "bad_redirect", True, "page"),
        ("/not-gzip", "bad_encoding", False, "page"),
        ("/cut-gzip", "bad_encoding", False, "page"),
        ("/rot13", "bad_encoding", True, "page"),
        ("/bomb", "decoded_max", True, "page"),
        ("/announced-large", "body_max", True, "page"),
        ("/endless", "body_max", True, "page"),
        ("/endless-chunks", "body_max", True, "page"),
        ("/close", "reset", False, "page"),
        ("/reset", "reset", False, "page"),
        ("/cut", "reset", False, "page"),
        ("/cut-chunks", "reset", False, "page"),
        ("/garbage", "protocol", False, "page"),
        ("/ssh", "protocol", False, "page"),
        ("/bad-length", "protocol", False, "page"),
        ("/two-lengths", "protocol", False, "page"),
        ("/bad-chunk", "protocol", False, "page"),
        ("/huge-header", "protocol", False, "page"),
        ("/many-headers", "protocol", False, "page"),
    ],
)
def test_every_fault_has_a_reason(path: str, reason: str, final: bool, blame: str) -> None:
    error = failed(path)
    assert (error.reason, error.final, error.blame) == (reason, final, blame), error


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/hang", "timeout_first_byte"),
        ("/hang-in-head", "timeout_first_byte"),
        ("/hang-in-body", "timeout_total"),
        ("/drip", "timeout_total"),
    ],
)
def test_nothing_hangs(path: str, reason: str) -> None:
    error = failed(path, QUICK)
    assert (error.reason, error.final, error.blame) == (reason, False, "page")


@pytest.mark.parametrize(("path", "seconds"), [("/429", 7.0), ("/503", 86_400.0), ("/503-when", None), ("/500", None)])
def test_retry_after(path: str, seconds: float | None) -> None:
    assert failed(path).retry_after_s == seconds


def test_redirects_are_results() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> None:
        response = await fetcher.fetch(Request(url=site.url("/redirect")))
        assert (response.status, response.redirect, response.body) == (301, site.url("/fine"), b"")
        bytes_ = await fetcher.fetch(Request(url=site.url("/redirect-bytes")))
        assert bytes_.redirect == site.url("/caf%C3%A9")
        assert site.asked["/fine"] == 0

    with_site(use)


def test_redirects_are_followed_when_asked() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> None:
        response = await fetcher.fetch(Request(url=site.url("/redirect-twice")), follow=2)
        assert (response.url, response.body) == (site.url("/fine"), PAGE)
        assert response.hops == (site.url("/redirect-twice"), site.url("/redirect"))
        with pytest.raises(SiteError) as raised:
            await fetcher.fetch(Request(url=site.url("/redirect-twice")), follow=1)
        assert (raised.value.reason, raised.value.final) == ("redirects_max", True)
        with pytest.raises(SiteError):
            await fetcher.fetch(Request(url=site.url("/loop")), follow=5)
        assert site.asked["/loop"] == 6

    with_site(use)


def test_the_first_part_is_enough_for_robots() -> None:
    response = fetched("/robots.txt", any_type=True, keep_bytes=ROBOTS_BYTES_MAX, follow=5)
    assert len(response.body) == ROBOTS_BYTES_MAX
    assert response.body.startswith(b"User-agent: *\n")
    assert fetched("/fine", keep_bytes=5).body == PAGE[:5]
    assert fetched("/gzip", keep_bytes=5).body == PAGE[:5]
    assert fetched("/bomb", any_type=True, keep_bytes=1000).body == bytes(1000)


def test_a_bomb_leaves_memory_flat() -> None:
    with_site(lambda fetcher, site: fetcher.fetch(Request(url=site.url("/fine"))))
    tracemalloc.start()
    try:
        assert failed("/bomb").reason == "decoded_max"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PATIENT.decoded_bytes_max * 3


def test_connections_are_kept() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> int:
        for path in ("/fine", "/gzip", "/404", "/redirect", "/image", "/500", "/empty", "/fine") * 3:
            with contextlib.suppress(SiteError):
                await fetcher.fetch(Request(url=site.url(path)))
        assert site.asked["/500"] == 3
        return site.connections

    assert with_site(use) == 1


def test_a_stale_connection_costs_nothing_and_a_fresh_failure_is_not_repeated() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> None:
        for _ in range(3):
            assert (await fetcher.fetch(Request(url=site.url("/then-close")))).body == PAGE
        assert site.asked["/then-close"] == 3
        await asyncio.sleep(0.05)
        with pytest.raises(SiteError):
            await fetcher.fetch(Request(url=site.url("/close")))
        assert site.asked["/close"] == 1

    with_site(use)


def test_only_idempotent_requests_are_sent_again() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> None:
        for method, times in (("GET", 2), ("POST", 1)):
            site.asked.clear()
            await fetcher.fetch(Request(url=site.url("/fine")))
            with pytest.raises(SiteError) as raised:
                await fetcher.fetch(Request(url=site.url("/close"), method=method))
            assert raised.value.reason == "reset"
            assert site.asked["/close"] == times

    with_site(use)


def test_many_at_once() -> None:
    paths = ["/fine", "/gzip", "/404", "/hang", "/reset", "/cut", "/br", "/drip", "/garbage", "/chunks"] * 8

    async def one(fetcher: Fetcher, url: str) -> str:
        try:
            response = await fetcher.fetch(Request(url=url))
        except SiteError as error:
            return error.reason
        assert response.body == PAGE
        return "fine"

    async def use(fetcher: Fetcher, site: Nasty) -> list[str]:
        return list(await asyncio.gather(*(one(fetcher, site.url(path)) for path in paths)))

    expected = [
        "fine",
        "fine",
        "http_404",
        "timeout_first_byte",
        "reset",
        "reset",
        "fine",
        "timeout_total",
        "protocol",
        "fine",
    ]
    assert with_site(use, QUICK) == expected * 8


def test_the_same_on_the_loop_that_workers_use() -> None:
    paths = ["/fine", "/close", "/hang", "/drip", "/endless", "/bomb", "/then-close", "/redirect", "/404"]

    async def one(fetcher: Fetcher, url: str) -> str:
        try:
            response = await fetcher.fetch(Request(url=url))
        except SiteError as error:
            return error.reason
        return response.redirect or str(response.status)

    async def main() -> list[str]:
        async with asyncio.timeout(GUARD_S), Nasty() as site, Fetcher(QUICK, guard=OPEN) as fetcher:
            return [(await one(fetcher, site.url(path))).replace(site.url(""), "") for path in paths]

    expected = [
        "200",
        "reset",
        "timeout_first_byte",
        "timeout_total",
        "body_max",
        "decoded_max",
        "200",
        "/fine",
        "http_404",
    ]
    assert uvloop.run(main()) == expected


def test_a_cancelled_fetch_is_cancelled_and_leaves_the_fetcher_usable() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> None:
        task = asyncio.create_task(fetcher.fetch(Request(url=site.url("/hang"))))
        while not site.asked["/hang"]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await fetcher.fetch(Request(url=site.url("/fine")))).body == PAGE

    with_site(use)


def test_a_time_out_is_no_cancellation() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> int:
        with pytest.raises(SiteError):
            await fetcher.fetch(Request(url=site.url("/hang")))
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert with_site(use, QUICK) == 0


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def error_of(url: str, settings: FetchTable = PATIENT) -> SiteError:
    async with asyncio.timeout(GUARD_S), Fetcher(settings, guard=OPEN) as fetcher:
        with pytest.raises(SiteError) as raised:
            await fetcher.fetch(Request(url=url))
    return raised.value


def test_a_closed_port_is_the_hosts_fault() -> None:
    error = asyncio.run(error_of(f"http://127.0.0.1:{unused_port()}/"))
    assert (error.reason, error.blame, error.final) == ("connect", "host", False)


def test_an_unknown_name_is_the_hosts_fault() -> None:
    error = asyncio.run(error_of("http://no-such-host.invalid/"))
    assert (error.reason, error.blame, error.final) == ("dns", "host", False)


def test_a_server_that_never_accepts_times_out_on_connect() -> None:
    async def main() -> SiteError:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            # A full backlog: the kernel answers no further connection.
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            await asyncio.sleep(0.1)
            try:
                return await error_of(f"http://127.0.0.1:{address[1]}/", FetchTable(connect_s=0.3))
            finally:
                for filler in fillers:
                    filler.close()

    error = asyncio.run(main())
    assert (error.reason, error.blame, error.final) == ("timeout_connect", "host", False)


def test_a_server_without_tls_is_the_hosts_fault() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async def main() -> SiteError:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            return await error_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    error = asyncio.run(main())
    assert (error.reason, error.blame, error.final) == ("tls", "host", False)


def test_the_user_agent_is_honest() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> set[str]:
        await fetcher.fetch(Request(url=site.url("/fine")))
        return site.agents

    assert with_site(use) == {f"crawler/{VERSION}"}
    assert with_site(use, FetchTable(contact="https://h.example/bot")) == {
        f"crawler/{VERSION} (+https://h.example/bot)"
    }
    assert with_site(use, FetchTable(user_agent="mine/2")) == {"mine/2"}


def test_a_requests_own_headers_are_sent() -> None:
    async def use(fetcher: Fetcher, site: Nasty) -> set[str]:
        await fetcher.fetch(Request(url=site.url("/fine"), headers=(("User-Agent", "other/1"),)))
        return site.agents

    assert with_site(use) == {"other/1"}
