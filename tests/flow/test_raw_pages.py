"""Raw pages end to end: what a fetch keeps over real sockets, and crawls that archive what they fetch."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from warcio.archiveiterator import ArchiveIterator

import crawler
from crawler import plan as plans
from crawler.demo.export import export
from crawler.demo.serve import names
from crawler.demo.shop import Shop
from crawler.error import SiteError
from crawler.fetch import DRAIN_BYTES, Fetcher
from crawler.guard import Guard
from crawler.home import MEMORY
from crawler.model import Message, RawHead, Request
from crawler.raw import Take
from crawler.settings import load
from crawler.solo import launch_solo
from crawler.tables import FetchTable
from tests.sites.crawl import Crawl, children, urls_of_jsonl
from tests.sites.nasty import FIXED, PAGE, Nasty
from tests.sites.nginx import Nginx
from tests.sites.stamp import StampServer

GUARD_S = 30.0
QUICK = FetchTable(first_byte_s=0.5, total_s=1.0, body_bytes_max=300_000, decoded_bytes_max=600_000)


def taken(path: str, request: Request | None = None, **options: Any) -> list[Take]:
    """What fetching this path of the nasty site keeps, whether it succeeds or not."""
    takes: list[Take] = []

    async def main() -> None:
        async with (
            asyncio.timeout(GUARD_S),
            Nasty() as site,
            Fetcher(QUICK, guard=Guard(allow=["127.0.0.1"])) as fetcher,
        ):
            wanted = msgspec.structs.replace(request or Request(url=""), url=site.url(path))
            with suppress(SiteError):
                await fetcher.fetch(wanted, takes=takes, **options)

    asyncio.run(main())
    return takes


def body(take: Take) -> bytes:
    return b"".join(take.chunks)


@pytest.mark.parametrize(
    "path", ["/fine", "/gzip", "/br", "/zstd", "/raw-deflate", "/404", "/500", "/redirect", "/image"]
)
def test_heads_and_body_are_those_on_the_wire(path: str) -> None:
    (take,) = taken(path)
    head, _, wanted = FIXED[path].partition(b"\r\n\r\n")
    lines = [f"HTTP/{take.version} {take.status} {take.phrase}", *(f"{name}: {value}" for name, value in take.headers)]
    assert "\r\n".join(lines).encode("latin-1") == head
    assert (body(take), take.whole, take.address) == (wanted, True, "127.0.0.1")
    assert 0 < take.seconds < GUARD_S


def test_the_request_is_the_one_that_was_sent() -> None:
    request = Request(url="", method="POST", headers=(("Cookie", "secret"), ("X-Mine", "1")))
    (take,) = taken("/fine", request)
    assert take.target == "/fine"
    sent = dict(take.request_headers)
    assert sent["Host"].startswith("127.0.0.1:")
    assert (sent["Cookie"], sent["X-Mine"], sent["Content-Length"]) == ("", "1", "0")
    assert "gzip" in sent["Accept-Encoding"]


@pytest.mark.parametrize(
    ("path", "kept", "whole"),
    [
        ("/until-closed", PAGE, True),
        ("/chunks", PAGE, True),
        ("/cut", b"<p>half", False),
        ("/cut-chunks", b"hello", False),
        ("/hang-in-body", b"<p>", False),
        ("/plain-204", b"", True),
        ("/304", b"", True),
        ("/announced-large", b"", False),
    ],
)
def test_bodies_without_a_length_or_an_end(path: str, kept: bytes, whole: bool) -> None:
    (take,) = taken(path)
    assert (body(take), take.whole) == (kept, whole)


@pytest.mark.parametrize("path", ["/endless", "/endless-chunks"])
def test_a_body_without_an_end_is_bounded(path: str) -> None:
    (take,) = taken(path)
    assert not take.whole
    assert QUICK.body_bytes_max <= take.body_bytes < 2 * QUICK.body_bytes_max


@pytest.mark.parametrize("path", ["/close", "/reset", "/garbage", "/hang"])
def test_what_is_no_answer_is_not_kept(path: str) -> None:
    (take,) = taken(path)
    assert take.status == 0


def test_each_hop_is_kept() -> None:
    takes = taken("/redirect-twice", follow=5)
    assert [(take.status, take.target, len(take.request.redirected_from)) for take in takes] == [
        (302, "/redirect-twice", 0),
        (301, "/redirect", 1),
        (200, "/fine", 2),
    ]


# -- crawls ------------------------------------------------------------------------------------------------------------

LARGE = b"<p>" + b"x" * 40_000


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    html = {"Content-Type": "text/html"}
    match path:
        case "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret"
        case "/":
            links = b"".join(
                b"<a href=/%s>x</a>" % name for name in (b"a", b"moved", b"gone", b"large", b"image", b"secret")
            )
            return 200, html, links
        case "/moved":
            return 301, {"Location": "/a"}, b"moved"
        case "/gone":
            return 404, html, b"gone" + bytes(DRAIN_BYTES + 1)
        case "/large":
            return 200, html, LARGE
        case "/image":
            return 200, {"Content-Type": "image/png"}, b"\x89PNG"
    return 200, html, b"a"


class Keep:
    """A pipeline of a script that takes whole pages."""

    takes = "raw"

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def store(self, messages: Sequence[Message]) -> None:
        self.messages += messages


class Items:
    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def store(self, messages: Sequence[Message]) -> None:
        self.kinds.update(message.kind for message in messages)


SETTINGS = """
[exchange]
message_bytes_max = 20_000

[pipelines.archive]
use = "pipelines.warc:Warc"
path = "pages.warc"
bind = ["page"]
"""


def test_every_response_that_ended_a_visit_is_archived(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    with StampServer(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        run = Crawl(tmp_path, [f"{url}/", "-w", "1", "--delay", "0", "--settings", "settings.toml"])
        report = run.run()
    assert report["exit"] in (0, 1), run.errors
    found = {}
    with (tmp_path / "pages.warc").open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                path = record.rec_headers.get_header("WARC-Target-URI").removeprefix(url)
                assert path not in found
                content = record.content_stream().read()
                found[path] = (
                    record.http_headers.get_statuscode(),
                    len(content),
                    record.rec_headers.get_header("WARC-Truncated"),
                )
    large = found.pop("/large")
    gone = found.pop("/gone")
    assert found == {
        "/robots.txt": ("200", 31, None),
        "/": ("200", 116, None),
        "/a": ("200", 1, None),
        "/moved": ("301", 5, None),
        "/image": ("200", 4, None),
    }
    assert large[0::2] == ("200", "length")
    assert 18_000 < large[1] < 20_000
    assert gone[0::2] == ("404", "length")
    assert set(urls_of_jsonl(tmp_path / "out.jsonl")) == {f"{url}/", f"{url}/a"}
    assert {letter.reason for letter in run.dead()} == {"http_404", "message_max"}  # the item of /large has its text


class Broken(crawler.Spider):
    """Its parse fails on one page."""

    name = "broken"

    def parse(self, page: crawler.Page) -> Iterator[Any]:
        if page.url.endswith("/a"):
            raise ValueError("no")
        yield page.item("page")
        yield from page.follow_all("a")


def solo(server: StampServer, extra: dict[str, Any], **overrides: Any) -> Any:
    given = {"politeness.delay_s": 0, **overrides}
    settings = load(None, overrides=[f"{key}={value}" for key, value in given.items()])
    plan = plans.prepare(
        settings,
        urls=[f"http://127.0.0.1:{server.port}/"],
        seed_files=(),
        out=None,
        state=MEMORY,
        fresh=False,
        spider=Broken,
    )
    plan = msgspec.structs.replace(plan, pipelines={}, outputs={})
    return launch_solo(plan, lambda snapshot: None, extra=extra)


def test_in_one_process_and_only_to_who_takes_them() -> None:
    """Nothing is kept without such a pipeline. A page that fails in the spider was fetched all the same; one that is to
    be tried again is not kept yet."""
    keep, items = Keep(), Items()
    with StampServer(answer) as server:
        solo(server, {"keep": keep, "items": items})
        paths = Counter(message.url.partition(f":{server.port}")[2] for message in keep.messages)
    assert paths == Counter(["/robots.txt", "/", "/a", "/moved", "/gone", "/large", "/image"])
    heads = [msgspec.json.decode(message.records[0].data, type=RawHead) for message in keep.messages]
    assert {head.via.rpartition("/")[2] for head in heads} == {""}  # /a was known already when /moved led there
    assert all(head.robots for head in heads)
    assert items.kinds == Counter(page=2)


def test_a_page_that_is_tried_again_is_kept_once_it_ends() -> None:
    asked: Counter[str] = Counter()

    def flaky(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        asked[path] += 1
        return (500 if path == "/" and asked[path] < 3 else 200), {"Content-Type": "text/html"}, b"%d" % asked[path]

    keep = Keep()
    with StampServer(flaky) as server:
        solo(server, {"keep": keep}, **{"retry.backoff_s": 0.01})
    heads = [msgspec.json.decode(message.records[0].data, type=RawHead) for message in keep.messages]
    assert [(head.target, head.status) for head in heads] == [("/robots.txt", 200), ("/", 200)]
    assert keep.messages[1].blob == b"3"


# -- kills -------------------------------------------------------------------------------------------------------------

PAGES = 2_500
HOSTS = 5
KILLS = 12
SEED = 20260131

STORM = """
[crawl]
hosts = ["*"]

[guard]
allow = ["127.0.0.0/8"]

[pipelines.archive]
use = "pipelines.warc:Warc"
path = "pages.warc.gz"
rotate_bytes = 1_000_000
"""


def kill_children(crawl: Crawl, dice: random.Random, count: int) -> int:
    """SIGKILL random processes of the fleet, while it runs; how many."""
    done = 0
    while done < count and crawl.running:
        time.sleep(dice.uniform(0.1, 0.3))
        if victims := children(crawl.process.pid):
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
                done += 1
    return done


def test_killed_workers_and_consumers_archive_each_page_once(tmp_path: Path) -> None:
    with Nginx(f"{tmp_path}/site/$host") as site:
        shop = Shop(pages=PAGES, hosts=names(site.port, HOSTS), faults=False)
        export(shop, str(tmp_path / "site"))
        (tmp_path / "settings.toml").write_text(STORM)
        run = Crawl(
            tmp_path, [shop.seeds()[0], "-w", "3", "--delay", "0", "--per-host", "2", "--settings", "settings.toml"]
        )
        dice = random.Random(SEED)
        run.start()
        killed = kill_children(run, dice, KILLS // 2)
        run.kill_tree()
        run.start()
        killed += kill_children(run, dice, KILLS // 2)
        report = run.end()
    assert report["exit"] == 0, run.errors[-2000:]
    assert killed >= KILLS // 2
    files = sorted(tmp_path.glob("pages*.warc.gz"))
    assert len(files) > 1
    checked = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", *map(str, files)], capture_output=True, check=False, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, "")
    archived: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    for path in files:
        with path.open("rb") as file:
            for record in ArchiveIterator(file, no_record_parse=True):
                ids[record.rec_headers.get_header("WARC-Record-ID")] += 1
                if record.rec_type == "response":
                    archived[record.rec_headers.get_header("WARC-Target-URI")] += 1
    robots = [url for url in archived if url.endswith("/robots.txt")]
    assert len(robots) == HOSTS
    assert archived == Counter([*shop.urls(), *robots])
    assert set(ids.values()) == {1}
    assert urls_of_jsonl(tmp_path / "out.jsonl") == Counter(shop.urls())
