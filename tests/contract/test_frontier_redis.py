"""What only Redis has: shards, a seen set that splits, keys that can be damaged, a crawl that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crawler.error import SettingsError
from crawler.frontier import redis
from crawler.frontier.redis import RedisFrontier, record
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.shards import crawls, erase, shard_of
from crawler.frontier.redis.wire import connect
from crawler.model import Done, Request, Retry, Rules, Settlement
from crawler.tables import RedisTable
from crawler.url import fingerprint
from crawler.view import Finish
from tests.contract.frontiers import RULES, Crawl, FakeClock, balanced, many, names, pages, request_id
from tests.contract.redis_frontier import shared_server

LUA = Path(redis.__file__).with_name("lua")


def frontier(name: str, *, shards: int = 0, begin: bool = True, clock: FakeClock | None = None, rules: Rules = RULES):
    table = RedisTable()
    wire = connect(parse(shared_server().url, table), table)
    return RedisFrontier(wire, rules, name=name, shards=shards, begin=begin, clock=clock)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A crawl of its own, removed at the end."""
    name = re.sub(r"\W", "_", request.node.name)[:80]
    yield name
    with frontier(name, begin=True) if name in _crawls() else frontier(f"{name}_") as left:
        erase(left._wire, name)
        erase(left._wire, f"{name}_")


def _crawls() -> tuple[str, ...]:
    table = RedisTable()
    wire = connect(parse(shared_server().url, table), table)
    try:
        return crawls(wire)
    finally:
        wire.close()


def keys(name: str) -> set[bytes]:
    return set(shared_server().admin.keys(f"crawler:{{{name}:*"))


class TestConstants:
    def test_fields_are_those_of_the_scripts(self) -> None:
        text = (LUA / "shard.lua").read_text(encoding="utf-8")
        fields = re.search(r"local FIELDS = \{(.*?)\}", text, re.DOTALL)
        assert fields is not None
        assert tuple(re.findall(r"'(\w+)'", fields[1])) == record.TOTALS
        host = re.search(r"local (ID, DUE_MS.*?) = (1, .*?)\nlocal HOST_FIELDS = (\d+)", text, re.DOTALL)
        assert host is not None
        places = dict(zip(re.findall(r"\w+", host[1]), map(int, re.findall(r"\d+", host[2])), strict=True))
        rare = dict(re.findall(r"(\w+) = (\d+)", re.search(r"local X = \{(.*?)\}", text)[1]))  # type: ignore[index]
        places |= {field: int(place) for field, place in rare.items()}
        assert len(record.HOST) == int(host[3]) + len(rare)
        others = {"STAMPS": "expires_0"}
        for field, place in places.items():
            assert record.HOST[place - 1].removesuffix("_ms") == others.get(field, field.lower().removesuffix("_ms"))
        assert re.search(r"local SCHEMA = '(\w+)'", text)[1] == record.SCHEMA  # type: ignore[index]


class TestSeen:
    def test_thousands_of_one_host_are_each_known_once_and_stay_small(self, name: str) -> None:
        with frontier(name) as one:
            requests = many(6_000)
            assert sum(one.add(requests[at : at + 200]).new for at in range(0, 6_000, 200)) == 6_000
            assert sum(one.add(requests[at : at + 500]).known for at in range(0, 6_000, 500)) == 6_000
            buckets = [key for key in keys(name) if b":seen:" in key]
            admin = shared_server().admin
            assert len(buckets) == -(-6_000 // 220)
            assert {admin.object("encoding", key) for key in buckets} == {b"intset"}
            assert sum(admin.scard(key) for key in buckets) == 6_000
            for request in requests[::500]:
                assert one.trace(fingerprint(request), "a.test").state == "ready"


class TestShards:
    def test_a_host_is_in_the_shard_of_its_domain_or_address(self) -> None:
        assert len({shard_of(host, 16) for host in ("a.b.test", "c.b.test:8080", "b.test")}) == 1
        assert shard_of("127.0.0.1:80", 16) == shard_of("127.0.0.1", 16)
        assert len({shard_of(f"127.0.0.{number}", 16) for number in range(1, 51)}) > 8
        assert len({shard_of(f"host{number}.test", 16) for number in range(200)}) == 16

    def test_a_whole_crawl(self, name: str) -> None:
        with frontier(name, shards=16, clock=FakeClock()) as one:
            token = one.open_producer("seeds")
            hosts = [f"host{number}.test" for number in range(40)]
            requests = [page for host in hosts for page in many(5, host)]
            assert one.add(requests, producer=token).new == 200
            assert one.finished() is Finish.RUNNING
            assert one.close_producer(token)
            found = []
            while leases := one.lease(30, worker="w1", request_id=request_id()).leases:
                assert len(leases) <= 30
                assert one.settle([Settlement(lease.token, Done()) for lease in leases]) == ()
                found += [lease.request.url for lease in leases]
            assert sorted(found) == sorted(request.url for request in requests)
            assert one.finished() is Finish.FINISHED
            assert len(one.shards()) == 16
            assert balanced(one)

    def test_repeating_a_request_id_gives_the_same(self, name: str) -> None:
        with frontier(name, shards=4) as one:
            one.add([page for number in range(12) for page in many(3, f"host{number}.test")])
            id = request_id()
            first = one.lease(8, worker="w1", request_id=id).leases
            again = one.lease(8, worker="w1", request_id=id).leases
            assert {lease.token for lease in first} == {lease.token for lease in again}
            assert len(first) == 8
            one.settle([Settlement(lease.token, Done()) for lease in first])
            assert one.lease(8, worker="w1", request_id=id).leases == ()

    def test_few_wanted_of_many_shards_are_found_wherever_they_are(self, name: str) -> None:
        with frontier(name, shards=16) as one:
            one.add(many(40, "only.test"))
            for count in (1, 3, 16):
                leased = one.lease(count, worker="w1", request_id=request_id())
                assert len(leased.leases) == count
                assert leased.next_due_s == 0.0

    def test_what_the_worker_dropped_untold_does_not_stop_it(self, name: str) -> None:
        """A lease that lapses while its worker lives: it is reaped, and the worker gets suspects and pages again."""
        clock = FakeClock()
        with frontier(name, shards=4, clock=clock) as one, frontier(name, shards=4, clock=clock) as other:
            one.add([page for number in range(20) for page in many(1, f"host{number}.test")])
            leases = one.lease(20, worker="w1", request_id=request_id()).leases
            one.settle([Settlement(lease.token, Done()) for lease in leases[1:]])
            one.add([page for number in range(20) for page in many(1, f"more{number}.test")])
            other.lease(20, worker="dead", request_id=request_id())
            other.forfeit("dead")
            done = 0
            for _ in range(200):
                clock.wait(5)
                given = one.lease(5, worker="w1", request_id=request_id()).leases
                one.settle([Settlement(lease.token, Done()) for lease in given])
                done += len(given)
            assert done == 41 - len(leases)
            assert balanced(one)

    def test_a_suspect_is_given_alone_to_empty_hands(self, name: str) -> None:
        clock = FakeClock()
        with frontier(name, shards=4, clock=clock) as one:
            crawl = Crawl(one, clock)
            crawl.add(*(page for number in range(6) for page in many(1, f"host{number}.test")))
            while crawl.lease(6, "doomed"):
                pass
            assert one.forfeit("doomed") == 6
            for _ in range(6):
                (lease,) = crawl.lease(5, "w1")
                assert lease.alone
                assert crawl.lease(5, "w1") == []
                crawl.done(lease)
            assert crawl.counts.crashes == 0
            assert crawl.counts.done == 6

    def test_stale_tokens_of_every_shard_are_told(self, name: str) -> None:
        with frontier(name, shards=4) as one:
            one.add([page for number in range(12) for page in many(1, f"host{number}.test")])
            leases = one.lease(12, worker="w1", request_id=request_id()).leases
            one.settle([Settlement(lease.token, Done()) for lease in leases[::2]])
            stale = one.settle([Settlement(lease.token, Retry(0.0, "http_500")) for lease in leases])
            assert set(stale) == {lease.token for lease in leases[::2]}

    def test_their_number_cannot_change(self, name: str) -> None:
        frontier(name, shards=4).close()
        with pytest.raises(SettingsError, match="begun with 4"):
            frontier(name, shards=8)
        with frontier(name) as one:
            assert one.record().shards == 4


class TestGone:
    def test_a_crawl_that_the_server_lost_is_not_begun_anew(self, name: str) -> None:
        one = frontier(name)
        one.add(many(3))
        erase(one._wire, name)
        for verb in (lambda: one.lease(1, worker="w1", request_id=request_id()), lambda: one.add(many(5)), one.counts):
            with pytest.raises(SettingsError, match="no crawl at"):
                verb()
        one.close()
        with pytest.raises(SettingsError, match="gone"):
            frontier(name, begin=False)
        assert keys(name) == set()

    def test_clear_leaves_nothing_of_what_was(self, name: str) -> None:
        with frontier(name, shards=2) as one:
            one.add([page for number in range(20) for page in many(10, f"host{number}.test")])
            one.lease(5, worker="w1", request_id=request_id())
            one.clear()
            assert keys(name) == {f"crawler:{{{name}:{shard}}}".encode() for shard in (0, 1)}
            assert one.counts().added == 0
            assert one.add(many(3)).new == 3

    def test_another_schema_and_a_foreign_key_are_refused(self, name: str) -> None:
        admin = shared_server().admin
        admin.hset(f"crawler:{{{name}:0}}", mapping={"schema": "99", "record": "{}"})
        with pytest.raises(SettingsError, match="schema '99'"):
            frontier(name)
        admin.delete(f"crawler:{{{name}:0}}")
        admin.set(f"crawler:{{{name}:0}}", "mine")
        with pytest.raises(SettingsError, match="somebody else's string"):
            frontier(name)
        admin.delete(f"crawler:{{{name}:0}}")


class TestDamage:
    @pytest.mark.parametrize("garbage", [b"x", b"", b"\x00\x00\x00\x00\x00\x01{broken", b"\xff" * 40])
    def test_a_queued_record_is_buried_and_the_rest_goes_on(self, name: str, garbage: bytes) -> None:
        clock = FakeClock()
        with frontier(name, clock=clock) as one:
            crawl = Crawl(one, clock)
            crawl.add(*pages("1", "2", "3"))
            shared_server().admin.lset(f"crawler:{{{name}:0}}:1:q:0:a.test", 1, garbage)
            assert sorted(names(crawl.lease(5, "w1"))) == ["1", "3"]
            assert [letter.reason for letter in one.dead()] == ["damaged_record"]
            assert one.kick() in (0, 1)
            assert balanced(one)

    def test_a_hosts_record_starts_anew_from_its_queues(self, name: str) -> None:
        clock = FakeClock()
        with frontier(name, clock=clock) as one:
            crawl = Crawl(one, clock)
            crawl.add(*pages("1", "2"), *pages("3", host="b.test"))
            shared_server().admin.hset(f"crawler:{{{name}:0}}:1:hosts", "a.test", b"\xc1garbage")
            assert sorted(names(crawl.lease(5, "w1"))) == ["1", "2", "3"]

    def test_a_leases_record_lapses_into_the_dead_letters(self, name: str) -> None:
        clock = FakeClock()
        with frontier(name, clock=clock) as one:
            crawl = Crawl(one, clock)
            crawl.add(*pages("1"))
            lease = crawl.one()
            shared_server().admin.hset(f"crawler:{{{name}:0}}:1:leases", lease.token.rpartition(":")[2], b"garbage")
            assert crawl.done(lease) == (lease.token,), "it cannot be told whose it is"
            crawl.pass_time(130)
            assert [letter.reason for letter in one.dead()] == ["damaged_record"]
            assert crawl.counts.leased == 0
            assert one.host("a.test").in_flight == 0


def test_a_crawls_name_must_fit_into_a_key() -> None:
    for bad in ("a{b", "a b", "", "x" * 201):
        with pytest.raises(SettingsError, match="crawl name"):
            frontier(bad)


def test_requests_of_the_four_origins_of_a_host_stay_apart(name: str) -> None:
    urls = ("http://a.test/1", "https://a.test/1", "http://a.test:443/1", "https://a.test:80/1")
    with frontier(name, rules=Rules(delay_s=0.0, per_host=0, robots=True)) as one:
        one.add([Request(url=url) for url in urls])
        found = set()
        for _ in urls:
            (lease,) = one.lease(1, worker="w1", request_id=request_id()).leases
            assert lease.robots
            found.add(lease.request.url)
            one.set_host("a.test", robots=_robots(lease.request.url))
            one.settle([Settlement(lease.token, Done())])
            for page in one.lease(1, worker="w1", request_id=request_id()).leases:
                if not page.robots:
                    one.settle([Settlement(page.token, Done())])
                else:
                    one.release([page.token])
        assert found == {url.replace("/1", "/robots.txt") for url in urls}


def _robots(url: str):
    from crawler.model import Robots

    return Robots(origin=url.removesuffix("/robots.txt"))


def test_a_host_is_read_from_what_the_crawl_is_now(name: str) -> None:
    """What one reader remembers of the crawl's keys must not outlive their removal by another."""
    with frontier(name) as one, frontier(name) as other:
        for delay_s in (2.0, 3.0, 4.0):
            other.set_host("a.test", delay_s=delay_s)
            assert one.host("a.test").delay_s == delay_s
            other.clear()
            assert one.host("a.test").delay_s is None


def test_several_threads_that_read_a_host_for_the_first_time_all_see_it(name: str) -> None:
    with frontier(name) as one:
        one.clear()
        one.set_host("a.test", delay_s=2.0)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            with frontier(name) as one:
                found = list(threads.map(lambda _, one=one: one.host("a.test").delay_s, range(4)))
            assert found == [2.0] * 4
