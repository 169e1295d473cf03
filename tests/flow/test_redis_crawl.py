"""A Redis that cannot be worked with, given to the real command: what it says, its exit code, and what it leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.daemon import free_port
from tests.servers.redis import PASSWORDS, RedisServer
from tests.sites.crawl import NAME, Crawl, urls_of_jsonl
from tests.sites.stamp import StampServer

FAST = ["-w", "1", "--delay", "0", "--per-host", "0"]
SHARD = f"crawler:{{{NAME}:0}}"
PAGES = 30


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """A home page that links to PAGES pages."""
    html = {"Content-Type": "text/html"}
    if path == "/robots.txt":
        return 404, html, b""
    links = "".join(f"<a href='/page/{number}'>x</a>" for number in range(PAGES)) if path == "/" else ""
    return 200, html, f"<title>page</title>{links}".encode()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with StampServer(answer) as server:
        yield f"http://127.0.0.1:{server.port}/"


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    shared.flush()
    return shared


def run(home: Path, site: str, url: str, *options: str) -> tuple[dict[str, Any], str]:
    """The report, and what it said."""
    crawl = Crawl(home, [site, *FAST, *options], url=url)
    report = crawl.run()
    assert "Traceback" not in crawl.errors
    return report, crawl.errors


def refused(home: Path, site: str, url: str, code: int, *words: str) -> None:
    """It ends with this exit code, says these words, tells no password, and asks the site nothing."""
    report, said = run(home, site, url)
    assert report["exit"] == code, said
    for word in words:
        assert re.search(word, said), (word, said)
    for password in (*PASSWORDS.values(), "not-this-one"):
        assert password not in said
    assert not (home / "out.jsonl").exists() or not urls_of_jsonl(home / "out.jsonl")


def test_a_crawl_on_redis_is_complete(server: RedisServer, site: str, tmp_path: Path) -> None:
    report, said = run(tmp_path, site, server.url)
    assert report["exit"] == 0, said
    assert len(urls_of_jsonl(tmp_path / "out.jsonl")) == 1 + PAGES
    assert PASSWORDS["crawler"] not in said


def test_a_wrong_password_is_told_and_not_shown(server: RedisServer, site: str, tmp_path: Path) -> None:
    url = server.url.replace(PASSWORDS["crawler"], "not-this-one")
    refused(tmp_path, site, url, 2, "password")


def test_no_password_is_told(server: RedisServer, site: str, tmp_path: Path) -> None:
    refused(tmp_path, site, f"redis://127.0.0.1:{server.port}/0", 2, "password")


def test_nobody_there_is_told_at_once(site: str, tmp_path: Path) -> None:
    refused(tmp_path, site, f"redis://127.0.0.1:{free_port()}/0", 3, "refused")


@pytest.mark.parametrize("database", ["99", "x"])
def test_a_database_that_does_not_exist(server: RedisServer, site: str, tmp_path: Path, database: str) -> None:
    refused(tmp_path, site, server.url.removesuffix("0") + database, 2, "database|frontier.url")


def test_a_server_that_evicts(site: str, tmp_path: Path) -> None:
    with RedisServer({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        refused(tmp_path, site, server.url, 2, "allkeys-lru", "noeviction")


def test_a_node_of_a_cluster_by_its_own_url(site: str, tmp_path: Path) -> None:
    with RedisServer(cluster=True) as server:
        server.admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
        refused(tmp_path, site, server.url, 2, r"redis\+cluster://")


@pytest.mark.parametrize("kind", ["string", "list", "hash"])
def test_somebody_elses_key_is_left_alone(server: RedisServer, site: str, tmp_path: Path, kind: str) -> None:
    if kind == "string":
        server.admin.set(SHARD, "theirs")
    elif kind == "list":
        server.admin.rpush(SHARD, "theirs")
    else:
        server.admin.hset(SHARD, "theirs", "1")
    before = server.admin.dump(SHARD)
    refused(tmp_path, site, server.url, 2, re.escape(SHARD))
    assert server.admin.dump(SHARD) == before


def test_another_schema_version_is_left_alone(server: RedisServer, site: str, tmp_path: Path) -> None:
    assert run(tmp_path, site, server.url)[0]["exit"] == 0
    (tmp_path / "out.jsonl").unlink()
    server.admin.hset(SHARD, "schema", "999")
    before = server.admin.dump(SHARD)
    refused(tmp_path, site, server.url, 2, "schema", "999")
    assert server.admin.dump(SHARD) == before


def test_a_record_damaged_by_hand_is_buried(server: RedisServer, site: str, tmp_path: Path) -> None:
    """What is queued when the crawl stops at its limit; two are damaged, the rest is fetched."""
    run(tmp_path, site, server.url, "--set", "crawl.pages_max=1")
    (queue,) = [key for key in server.admin.keys(f"{SHARD}:*") if b":q:" in key]
    waiting = server.admin.llen(queue)
    assert waiting > 3
    server.admin.lset(queue, 1, b"garbage \xff\x00")
    server.admin.lset(queue, 2, b"")
    report, said = run(tmp_path, site, server.url)
    crawl = Crawl(tmp_path, [], url=server.url)
    assert [letter.reason for letter in crawl.dead()] == ["damaged_record"] * 2, said
    counts = crawl.counts()
    assert counts.added == counts.done + counts.dead == 1 + PAGES
    assert (counts.ready, counts.leased, counts.delayed, counts.suspects) == (0, 0, 0, 0)
    assert len(urls_of_jsonl(tmp_path / "out.jsonl")) == 1 + PAGES - 2
    assert report["exit"] in (0, 1)
