"""A crawl's name, its beginning by several at once, its end, and how much of it one call moves."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler import home
from crawler.cli import main
from crawler.error import BackendError, BadRecord, SettingsError
from crawler.frontier.redis import RedisFrontier, shards
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.record import SCHEMA
from crawler.frontier.redis.shards import CALL_BYTES_MAX, crawls, erase
from crawler.frontier.redis.wire import Wire, client_name, connect, in_use
from crawler.model import Bury, CrawlRecord, Done, Outcome, Request, Retry, Settlement
from crawler.plan import prepare
from crawler.settings import FrontierTable, Settings, load
from crawler.tables import RedisTable
from tests.contract.frontiers import RULES, balanced, many, request_id
from tests.contract.redis_frontier import shared_server

LUA = Path(shards.__file__).with_name("lua")
_numbers = itertools.count(1)
admin = shared_server().admin


def wire(name: str = "crawler") -> Wire:
    return connect(parse(shared_server().url, RedisTable()), RedisTable(), name=name)


def frontier(name: str, *, shards: int = 0, begin: bool = True) -> RedisFrontier:
    return RedisFrontier(wire(), RULES, name=name, shards=shards, begin=begin)


@pytest.fixture
def name() -> Iterator[str]:
    name = f"identity{next(_numbers)}"
    yield name
    with wire_of() as one:
        erase(one, name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a machine that has nothing of the crawl yet."""
    monkeypatch.chdir(tmp_path)
    return Settings(frontier=FrontierTable(url=shared_server().url))


class wire_of:  # noqa: N801
    """A wire that ends with the block."""

    def __enter__(self) -> Wire:
        self._wire = wire()
        return self._wire

    def __exit__(self, *error: object) -> None:
        self._wire.close()


def record(name: str, shards: int) -> bytes:
    return msgspec.json.encode(CrawlRecord(name=name, shards=shards, created_ms=1))


class TestNames:
    def test_removing_a_crawl_leaves_those_whose_names_begin_like_it(self, name: str) -> None:
        others = (f"{name}:eu", f"{name}:0", f"{name}*", f"{name}x")
        for one in (name, *others):
            with frontier(one, shards=2) as begun:
                begun.add(many(3))
        with wire_of() as one:
            erase(one, name)
            assert set(crawls(one)) >= set(others)
            assert name not in crawls(one)
            assert not admin.exists(f"crawler:{{{name}:0}}", f"crawler:{{{name}:1}}")
            for other in others:
                with frontier(other, begin=False) as left:
                    assert left.counts().ready == 3
                erase(one, other)
        assert not admin.keys(f"crawler:{{{name}*")

    @pytest.mark.parametrize("end", ["", "ünï", "日本" * 20, "x" * 170, "a:work"])
    def test_a_crawl_is_in_use_whatever_its_name(self, settings: Settings, name: str, end: str) -> None:
        name += end
        assert not home.is_running(settings, f"redis:{name}")
        with home.open_redis(settings, name, role=home.WORKING, begin=True) as worker:
            worker.counts()
            assert home.is_running(settings, f"redis:{name}")
            assert not home.is_running(settings, f"redis:{name[:-1]}ä")
        home.remove(settings, f"redis:{name}")

    def test_what_looks_the_same_in_a_connections_name_is_not(self) -> None:
        assert client_name("ä", "work") != client_name("ö", "work")
        assert client_name("x" * 190 + "1", "work") != client_name("x" * 190 + "2", "work")
        assert client_name("a", "work") != client_name("a", "look")
        with wire_of() as one:
            assert not in_use(one, "a", "work")

    @pytest.mark.parametrize(
        "bad", ["../esc", "a/b", ".a", "..", "a b", "a{b", "a}b", "a\x00", "ä" * 101, "x" * 201, "\ud800"]
    )
    def test_one_that_cannot_be_a_key_or_a_file_is_refused_before_a_file_is_made(
        self, settings: Settings, bad: str
    ) -> None:
        for given in (f"redis:{bad}", None):
            named = msgspec.structs.replace(settings, crawl=msgspec.structs.replace(settings.crawl, name=bad))
            with pytest.raises(SettingsError, match="crawl name"):
                home.state_of(named, "shop", given)
        assert list(Path.cwd().iterdir()) == []

    def test_one_that_looks_like_a_file_can_be_named(self, settings: Settings) -> None:
        assert home.state_of(settings, "", "redis:a.db") == "redis:a.db"


class TestBegin:
    def test_several_at_once_all_get_it(self, name: str) -> None:
        for attempt in range(10):
            failed: list[BaseException] = []
            start = threading.Barrier(4)

            def begin(name: str = f"{name}-{attempt}", start: Any = start, failed: Any = failed) -> None:
                start.wait()
                try:
                    frontier(name, shards=16).close()
                except (SettingsError, BackendError) as error:
                    failed.append(error)

            threads = [threading.Thread(target=begin) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failed == []
            with wire_of() as one:
                erase(one, f"{name}-{attempt}")

    def test_who_died_at_it_is_followed_by_another(self, name: str) -> None:
        admin.hset(
            f"crawler:{{{name}:0}}",
            mapping={"schema": SCHEMA, "generation": 1, "paused": 0, "skew": 0, "record": record(name, 8)},
        )
        with pytest.raises(SettingsError, match="not made yet"):
            frontier(name, begin=False)
        with frontier(name) as one:
            assert len(one.shards()) == 8
        admin.delete(f"crawler:{{{name}:3}}")
        for begin in (True, False):
            with pytest.raises(SettingsError, match="gone, a part of the crawl"):
                frontier(name, begin=begin)

    def test_the_list_of_crawls_keeps_when_it_began(self, name: str) -> None:
        frontier(name).close()
        began = admin.hget(shards.CRAWLS, name)
        admin.hset(shards.CRAWLS, name, 7)
        frontier(name).close()
        assert int(began) > 7
        assert admin.hget(shards.CRAWLS, name) == b"7"

    def test_nothing_is_made_that_cannot_be_listed(self, name: str) -> None:
        kept = admin.dump(shards.CRAWLS)
        admin.delete(shards.CRAWLS)
        admin.set(shards.CRAWLS, "mine")
        try:
            with pytest.raises(BadRecord, match="crawler:crawls is not the crawler's"):
                frontier(name)
        finally:
            admin.delete(shards.CRAWLS)
            if kept:
                admin.restore(shards.CRAWLS, 0, kept)
        assert not admin.exists(f"crawler:{{{name}:0}}")

    def test_nothing_is_listed_that_could_not_be_made(self, name: str) -> None:
        admin.set(f"crawler:{{{name}:0}}", "mine")
        with pytest.raises(SettingsError, match="somebody else"):
            frontier(name)
        assert not admin.hexists(shards.CRAWLS, name)

    def test_shards_have_a_limit(self, name: str) -> None:
        with pytest.raises(SettingsError, match="shards"):
            load(None, overrides=["frontier.shards=1025"])
        assert load(None, overrides=["frontier.shards=1024"]).frontier.shards == 1024
        for count in (0, 1_000_000):
            admin.hset(f"crawler:{{{name}:0}}", mapping={"schema": SCHEMA, "record": record(name, count)})
            with pytest.raises(SettingsError, match=f"shards {count}"):
                frontier(name)


@pytest.mark.parametrize("way", ["rm", "--fresh"])
@pytest.mark.parametrize("damage", ["half", "schema", "canonical", "record", "totals", "key"])
def test_what_cannot_be_read_can_be_removed(settings: Settings, name: str, damage: str, way: str) -> None:
    frontier(name, shards=2).close()
    key = f"crawler:{{{name}:0}}"
    if damage == "half":
        admin.delete(f"crawler:{{{name}:1}}")
    elif damage == "key":
        admin.delete(key)
        admin.set(key, "mine")
    else:
        changed = CrawlRecord(name=name, canonical="old-1", shards=2)
        values = {"record": "{", "totals": "x", "schema": "99", "canonical": msgspec.json.encode(changed)}
        admin.hset(key, "record" if damage == "canonical" else damage, values[damage])
    if way == "--fresh":
        prepare(settings, urls=["http://a.test/"], seed_files=(), out=None, state=name, fresh=True)
        with frontier(name, begin=False) as one:
            assert one.counts().added == 0
            assert one.record().shards == 1
        return
    assert main(["rm", name, "--yes", "--set", f"frontier.url={shared_server().url}"]) == 0
    assert not admin.keys(f"crawler:{{{name}:*")
    assert not admin.hexists(shards.CRAWLS, name)


class TestBytes:
    """A call moves so many bytes at most, so that the server is never held up for long."""

    def test_the_limit_is_that_of_the_scripts(self) -> None:
        assert f"CALL_BYTES_MAX = 200, 200, {CALL_BYTES_MAX}" in (LUA / "shard.lua").read_text(encoding="utf-8")

    @pytest.mark.parametrize("end", [Done(), Retry(0.0, "http_500"), Bury("http_404"), None])
    def test_large_requests_go_in_pieces(self, name: str, end: Outcome | None) -> None:
        count, size = 40, 60_000
        requests = [Request(url=f"http://a.test/{n}", method="POST", body=b"x" * (size * 3 // 4)) for n in range(count)]
        with frontier(name) as one:
            assert one.add(requests).new == count
            assert one.add(requests).known == count
            leases = []
            while given := one.lease(200, worker="w1", request_id=request_id()).leases:
                calls = Counter(lease.token.partition(":")[0] for lease in given)
                assert max(calls.values()) <= CALL_BYTES_MAX // size + 1
                leases += given
            assert {lease.request.url for lease in leases} == {request.url for request in requests}
            tokens = [lease.token for lease in leases]
            if end is None:
                one.release(tokens)
                assert one.counts().ready == count
            else:
                stale = f"{request_id()}:1"
                ends = [Settlement(token, end) for token in (*tokens[:30], stale, *tokens[30:])]
                assert one.settle(ends) == (stale,)
                assert set(one.settle(ends)) == {stale, *tokens}
            assert one.counts().leased == 0
            if isinstance(end, Bury):
                assert one.kick() == one.purge() == count
            assert balanced(one)

    def test_one_that_is_larger_goes_alone(self, name: str) -> None:
        with frontier(name) as one:
            large = [Request(url=f"http://a.test/{n}", method="POST", body=b"x" * 600_000) for n in range(3)]
            assert one.add(large).new == 3
            for _ in large:
                (lease,) = one.lease(5, worker="w1", request_id=request_id()).leases
                assert lease.request.body == b"x" * 600_000
