"""Keys that somebody wrote into, or took away: the crawl goes on with all that is left, or says which key it was. Never
an endless loop, and no page that is seen and not queued."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crawler.error import BadRecord, SettingsError
from crawler.frontier.redis import RedisFrontier
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.shards import erase
from crawler.frontier.redis.wire import connect
from crawler.model import Bury, Done, Retry, Robots, Rules, Settlement
from crawler.tables import RedisTable
from crawler.view import Finish
from tests.contract.frontiers import RULES, Crawl, FakeClock, balanced, make_suspects, many, names, pages, request_id
from tests.contract.redis_frontier import shared_server

_numbers = itertools.count(1)
Open = Callable[..., Crawl]


@pytest.fixture
def name() -> str:
    return f"damage{next(_numbers)}"


@pytest.fixture
def open_crawl(name: str) -> Iterator[Open]:
    """The crawl `name`, with a clock and rules of the test's own; gone after the test."""
    opened: list[RedisFrontier] = []
    clock = FakeClock()

    def make(**rules: Any) -> Crawl:
        table = RedisTable()
        wire = connect(parse(shared_server().url, table), table)
        given = {**{field: getattr(RULES, field) for field in ("delay_s", "per_host", "robots")}, **rules}
        opened.append(RedisFrontier(wire, Rules(**given), name=name, clock=clock))
        return Crawl(opened[-1], clock)

    yield make
    for frontier in opened:
        erase(frontier._wire, name)
        frontier.close()


@pytest.fixture
def crawl(open_crawl: Open) -> Crawl:
    return open_crawl()


@pytest.fixture
def key(name: str) -> Callable[[str], str]:
    """The whole name of a key of the crawl's only shard."""
    return lambda part: f"crawler:{{{name}:0}}:1:{part}"


admin = shared_server().admin


def cut(key: str, at: int, length: int) -> None:
    """Shorten a member of a sorted set."""
    (member, score) = admin.zrange(key, at, at, withscores=True)[0]
    admin.zrem(key, member)
    admin.zadd(key, {member[:length]: score})


def to_the_end(crawl: Crawl, rounds: int = 60) -> list[str]:
    """What a worker gets done until the crawl is over, at most so many rounds; suspects lapse on the way."""
    done: list[str] = []
    for _ in range(rounds):
        leases = crawl.lease(50, "last")
        crawl.done(*leases)
        done += names(leases)
        if not leases:
            crawl.clock.wait(5)
    return done


class TestAdmission:
    def test_a_queue_that_is_not_ours_keeps_its_pages_unseen_and_only_those(self, crawl: Crawl, key: Any) -> None:
        admin.set(key("q:0:a.test"), "mine")
        both = [*pages("1", "2"), *pages("3", "4", host="b.test"), *pages("5", priority=3)]
        with pytest.raises(BadRecord, match=r"q:0:a\.test"):
            crawl.add(*both)
        assert crawl.counts.added == 3
        admin.delete(key("q:0:a.test"))
        assert crawl.add(*both) == 2
        assert sorted(names(crawl.lease(9))) == ["1", "2", "3", "4", "5"]
        assert balanced(crawl.frontier)

    @pytest.mark.parametrize("part", ["hosts", "ready", "down", "delayed", "seen:0"])
    def test_whichever_key_is_not_ours_no_page_is_lost(self, crawl: Crawl, key: Any, part: str) -> None:
        later = pages("3", not_before_ms=crawl.clock() + 1_000)
        crawl.add(*pages("0", host="b.test"))
        crawl.drain()
        admin.delete(key(part))
        admin.set(key(part), "mine")
        with pytest.raises(BadRecord, match="WRONGTYPE"):
            crawl.add(*pages("1", "2"), *later)
        admin.delete(key(part))
        crawl.add(*pages("1", "2"), *later)
        crawl.clock.wait(2)
        assert sorted(to_the_end(crawl, 3)) == ["1", "2", "3"]
        assert part == "hosts" or balanced(crawl.frontier), "how many a host has done is lost with its record"

    def test_another_queue_of_the_host_that_is_not_ours_keeps_nothing_back(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*pages("1", priority=9))
        crawl.drain()
        admin.set(key("q:9:a.test"), "mine")
        assert crawl.add(*pages("2", "3")) == 2
        admin.delete(key("q:9:a.test"))
        assert crawl.drain() == ["2", "3"]
        assert balanced(crawl.frontier)

    def test_a_host_that_cannot_be_read_keeps_its_pages_unseen(self, crawl: Crawl, key: Any) -> None:
        later = pages("4", not_before_ms=crawl.clock() + 1_000)
        crawl.add(*pages("1", host="b.test"))
        admin.hset(key("hosts"), "a.test", "x")
        admin.set(key("back:a.test"), "mine")
        with pytest.raises(BadRecord, match=r"WRONGTYPE.*q:0:a\.test|hosts"):
            crawl.add(*pages("1", "2"), *later, *pages("3", host="b.test"))
        assert crawl.counts.added == 2
        admin.delete(key("back:a.test"))
        assert crawl.add(*pages("1", "2"), *later, *pages("3", host="b.test")) == 3
        crawl.clock.wait(2)
        assert sorted(to_the_end(crawl, 3)) == ["1", "1", "2", "3", "4"]
        assert balanced(crawl.frontier)

    def test_a_bucket_that_cannot_be_split_loses_nothing(self, crawl: Crawl, key: Any) -> None:
        admin.set(key("seen:1"), "mine")
        crawl.add(*many(200))
        crawl.add(*pages(*map(str, range(200, 400))))
        admin.delete(key("seen:1"))
        assert crawl.frontier.add(many(450)).new == 50
        assert len(to_the_end(crawl, 30)) == 450


class TestEnds:
    """What once was asked for over and over."""

    def test_a_dead_workers_leases_whose_records_are_gone(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*many(250))
        assert len(crawl.lease(200, "doomed")) == 200
        admin.delete(key("leases"))
        assert crawl.frontier.forfeit("doomed") == 0
        crawl.pass_time(150)
        assert len(crawl.frontier.dead(reason="damaged_record", limit=500)) == 200
        assert len(to_the_end(crawl, 20)) == 50
        assert crawl.counts.leased == 0
        assert {row.leased for row in crawl.frontier.workers()} == {0}
        assert admin.exists(key("held:doomed")) == 0

    def test_leases_and_producers_that_could_not_lapse_any_more(self, crawl: Crawl, key: Any) -> None:
        crawl.frontier.open_producer("seeds")
        crawl.add(*many(300))
        crawl.lease(200, "lost")
        crawl.lease(100, "lost")
        admin.delete(key("expiry"), key("producer_expiry"))
        crawl.pass_time(150)
        assert crawl.counts.suspects == 300
        assert crawl.counts.producers_lost == 1

    def test_a_host_that_stands_in_two_places(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*many(2))
        admin.zadd(key("ready"), {b"\x00\x00\x00\x63a.test": 1, b"\x00\x00\x00\x64b.test": 2})
        assert sorted(to_the_end(crawl, 4)) == ["0", "1"]
        assert admin.exists(key("ready")) == 0
        assert crawl.ask().next_due_s is None

    def test_a_worker_whose_lease_alone_was_damaged_gets_work_again(self, crawl: Crawl, key: Any) -> None:
        make_suspects(crawl, *pages("1"))
        lease = crawl.one()
        assert lease.alone
        crawl.add(*pages("2"))
        assert crawl.lease() == []
        admin.hset(key("leases"), lease.token.rpartition(":")[2], "x")
        crawl.pass_time(150)
        assert names(crawl.lease()) == ["2"]

    def test_a_dead_letter_cut_short(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*pages("1", "2", "3"))
        crawl.settle(Bury("http_404"), *crawl.lease(3))
        cut(key("dead"), 0, 3)
        frontier = crawl.frontier
        assert [letter.reason for letter in frontier.dead()] == ["damaged_record", "http_404", "http_404"]
        assert frontier.kick() == 2, "what cannot be read cannot be tried again"
        assert frontier.drop() == 1
        assert crawl.counts.dead == 0

    def test_a_suspect_cut_short(self, open_crawl: Open, key: Any) -> None:
        crawl = open_crawl(robots=True)
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test"))
        make_suspects(crawl, *pages("1", "2"))
        cut(key("suspects"), 0, 10)
        (lease,) = crawl.lease(1)
        assert lease.host == "a.test"
        crawl.done(lease)
        assert crawl.lease(1) == []
        assert crawl.counts.suspects == 0
        assert [letter.reason for letter in crawl.frontier.dead()] == ["damaged_record"]

    def test_a_host_that_is_down_and_whose_suspect_is_gone(self, open_crawl: Open, key: Any) -> None:
        crawl = open_crawl(host_failures_max=1)
        make_suspects(crawl, *pages("1", "2"))
        cut(key("suspects"), 0, 10)
        crawl.settle(Retry(1.0, "connect", blame="host"), crawl.one())
        crawl.clock.wait(5)
        assert crawl.lease() == []
        assert crawl.counts.suspects == 0
        assert admin.exists(key("down")) == 0
        assert crawl.ask().next_due_s is None


class TestLostHosts:
    """A host whose record or place is gone is found again by whoever meets it."""

    @pytest.mark.parametrize("gone", ["hosts", "ready", "the field", "its place"])
    def test_its_pages_are_done(self, open_crawl: Open, key: Any, gone: str) -> None:
        crawl = open_crawl(per_host=1)
        token = crawl.frontier.open_producer("seeds")
        crawl.add(*many(5), *pages("x", "y", host="b.test"))
        crawl.frontier.close_producer(token)
        lease = crawl.one()
        if gone == "the field":
            admin.hdel(key("hosts"), lease.host)
        elif gone == "its place":
            admin.zremrangebyrank(key("ready"), 0, -1)
        else:
            admin.delete(key(gone))
        crawl.done(lease)
        assert sorted(names([lease]) + to_the_end(crawl)) == ["0", "1", "2", "3", "4", "x", "y"]
        assert crawl.frontier.finished() is Finish.FINISHED

    def test_those_queued_behind_others_count_once(self, crawl: Crawl, key: Any) -> None:
        crawl.frontier.close_producer(crawl.frontier.open_producer("seeds"))
        for number in range(5):
            crawl.add(*pages(str(number)))
        admin.delete(key("ready"))
        assert crawl.lease() == []
        assert crawl.counts.ready == 5
        assert len(to_the_end(crawl)) == 5
        assert crawl.frontier.finished() is Finish.FINISHED

    def test_many_are_found_in_pieces(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*(page for number in range(1_000) for page in pages("1", host=f"h{number}.test")))
        admin.delete(key("ready"))
        assert len(to_the_end(crawl)) == 1_000
        assert balanced(crawl.frontier)

    def test_when_nothing_knows_them_any_more_that_is_told(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*many(5))
        admin.delete(key("ready"), key("hosts"))
        with pytest.raises(SettingsError, match=r"5 requests are counted as ready.*crawler rm"):
            crawl.lease()

    @pytest.mark.parametrize("part", ["delayed", "suspects"])
    def test_when_what_is_neither_ready_nor_leased_is_gone_that_is_told(
        self, crawl: Crawl, key: Any, part: str
    ) -> None:
        crawl.add(*pages("1", "2"))
        (one, two) = crawl.lease(2, "doomed")
        if part == "delayed":
            crawl.settle(Retry(60.0, "http_500"), one)
        else:
            crawl.frontier.forfeit("doomed")
        admin.delete(key(part))
        crawl.done(two)
        with pytest.raises(SettingsError, match=f"requests are counted as {part}.*crawler rm"):
            crawl.lease()

    def test_what_somebody_else_queued_makes_no_end_before_the_end(self, open_crawl: Open, key: Any) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.frontier.close_producer(crawl.frontier.open_producer("seeds"))
        crawl.add(*many(2), *pages("x", "y", "z", host="b.test"))
        admin.rpush(key("q:0:a.test"), "1", "2", "3")
        ended: list[str] = []
        for _ in range(20):
            if crawl.frontier.finished() is Finish.RUNNING:
                leases = crawl.lease(10)
                crawl.done(*leases)
                ended += names(leases)
                crawl.clock.wait(1.001)
        assert crawl.frontier.finished() is Finish.FINISHED
        assert sorted(ended) == ["0", "1", "x", "y", "z"]
        assert [letter.reason for letter in crawl.frontier.dead()] == ["damaged_record"] * 3

    def test_a_counter_that_is_too_high_is_told(self, crawl: Crawl, key: Any) -> None:
        crawl.add(*many(2))
        admin.delete(key("q:0:a.test"))
        assert crawl.lease() == []
        assert crawl.counts.ready == 0


class TestQueues:
    """Pages of others, taken in the same step, are not lost to a key that is not ours."""

    @pytest.mark.parametrize("part", ["q:0:a.test", "back:a.test"])
    def test_other_hosts_go_on(self, crawl: Crawl, key: Any, part: str) -> None:
        crawl.add(*pages("x", "y", host="b.test"), *pages("1", "2"))
        if part == "back:a.test":
            crawl.frontier.release([lease.token for lease in crawl.lease(9)])
        admin.rename(key(part), key("saved"))
        admin.set(key(part), "mine")
        others = crawl.lease(9)
        assert sorted(names(others)) == ["x", "y"]
        crawl.done(*others)
        with pytest.raises(BadRecord, match="WRONGTYPE"):
            crawl.lease(9)
        admin.rename(key("saved"), key(part))
        assert sorted(names(crawl.lease(9))) == ["1", "2"]
        assert balanced(crawl.frontier)


DAMAGE: dict[str, Callable[[Callable[[str], str]], object]] = {
    "a batch that is no range": lambda key: admin.hset(key("batches"), admin.hkeys(key("batches"))[0], "1"),
    "a batch without end": lambda key: admin.hset(key("batches"), admin.hkeys(key("batches"))[0], "1,99999999"),
    "batches gone": lambda key: admin.delete(key("batches")),
    "a foreign batch": lambda key: admin.zadd(key("given"), {"x": 1}),
    "a foreign lease": lambda key: admin.zadd(key("expiry"), {"garbage": 1}),
    "a foreign lease with a number": lambda key: admin.zadd(key("expiry"), {"77 a.test": 1}),
    "a foreign producer": lambda key: admin.zadd(key("producer_expiry"), {"garbage": 1}),
    "a producer": lambda key: admin.hset(key("producers"), "1", "x"),
    "producers gone": lambda key: admin.delete(key("producers")),
    "a worker": lambda key: admin.hset(key("workers"), "w1", "x"),
    "a worker's numbers": lambda key: admin.hset(key("workers"), "w1", b"\x95\xa1a\xa1b\xa1c\xa1d\xa1e"),
    "a foreign worker": lambda key: admin.hset(key("workers"), b"\xff\xfe", "x"),
    "a host's numbers": lambda key: admin.hset(key("hosts"), "a.test", b"\x95\x01\x01\x01\x01\xa1x"),
    "a foreign host": lambda key: admin.hset(key("hosts"), b"\xff\xfe", "x"),
    "a foreign place": lambda key: admin.zadd(key("ready"), {b"\x00\x00\x00\x01\xff\xfe": 1}),
    "a place cut short": lambda key: cut(key("ready"), 0, 3),
    "a foreign place, far away": lambda key: admin.zadd(key("ready"), {b"\x00\x00\x00\x63c.test": 9e15}),
    "every place": lambda key: [cut(key("ready"), 0, 3) for _ in "ab"],
    "a worker's hands": lambda key: admin.sadd(key("held:w1"), b"\xff", "x"),
    "what lapses": lambda key: admin.delete(key("expiry")),
    "what producers lapse": lambda key: admin.delete(key("producer_expiry")),
    "a producer's end": lambda key: cut(key("producer_expiry"), 0, 0),
    "a lease's host": lambda key: [
        admin.hset(key("leases"), serial, packed.replace(b".test", b".\xc3est"))
        for serial, packed in admin.hgetall(key("leases")).items()
    ],
    "a foreign robots.txt": lambda key: admin.hset(key("robots"), "http://a.test", b"\x94\xa1\xff\x01\x01\xa0"),
    "a reason": lambda key: admin.hset(key("reasons"), "done:redirect", "many"),
    "a foreign reason": lambda key: admin.hset(key("reasons"), b"\xff", "1"),
    "a delayed one": lambda key: admin.zadd(key("delayed"), {b"\x00\x00\x00\x00\x00\x01\x97\x00": 1}),
    "a delayed one, for ever": lambda key: admin.zadd(key("delayed"), {b"\x00\x00": "inf"}),
    "a suspect": lambda key: admin.zadd(key("suspects"), {b"\x00": 1}),
    "a dead letter": lambda key: admin.zadd(key("dead"), {b"\x00\x00\x00\x00\x00\x01\xff\xff": 1}),
    "a dead letter, not by number": lambda key: admin.zadd(key("dead"), {b"\xff": "inf"}),
    "the monitor": lambda key: admin.hset(key("").removesuffix(":1:"), "monitor", "x"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_row_stops_nothing(crawl: Crawl, key: Any, what: str) -> None:
    frontier = crawl.frontier
    token = frontier.open_producer("w1/seeds")
    crawl.add(*many(6), *pages("x", host="b.test"))
    held = crawl.lease(2)
    DAMAGE[what](key)
    assert {host.name for host in frontier.hosts()} >= {"a.test", "b.test"}
    assert frontier.host("a.test").name == "a.test"
    crawl.settle(Done("redirect"), *held)
    if not frontier.close_producer(token):
        frontier.close_producer(frontier.open_producer("w1/seeds"))
    assert len(to_the_end(crawl)) >= 5
    for verb in (frontier.counts, frontier.workers, frontier.hosts, frontier.dead, frontier.shards, frontier.peek):
        verb()
    frontier.host("a.test")
    frontier.forfeit("w1")
    frontier.kick()
    frontier.drop()
    assert crawl.counts.leased == 0
    assert crawl.counts.ready == 0
    assert crawl.counts.added == 7
    assert frontier.finished() in (Finish.FINISHED, Finish.INCOMPLETE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("totals", b"\x93\x01"),
        ("totals", b"\x01"),
        ("totals", b"\x92\xa1a\xa1b"),
        ("totals", None),
        ("skew", "x"),
        ("skew", None),
        ("generation", "x"),
        ("generation", None),
    ],
)
def test_a_shard_without_its_numbers_says_so(crawl: Crawl, name: str, field: str, value: bytes | None) -> None:
    crawl.add(*many(3))
    shard = f"crawler:{{{name}:0}}"
    if value is None:
        admin.hdel(shard, field)
    else:
        admin.hset(shard, field, value)
    verbs: list[Callable[[], object]] = [
        crawl.lease,
        lambda: crawl.add(*many(5)),
        lambda: crawl.counts,
        crawl.frontier.finished,
        lambda: crawl.frontier.settle([Settlement(f"{request_id()}:1", Done())]),
    ]
    for verb in verbs:
        with pytest.raises(SettingsError, match=f"damage.*{'totals' if field == 'totals' else 'skew'}.*crawler rm"):
            verb()
    if value == "x":
        with pytest.raises(BadRecord, match=f"{field}.*crawler rm"):
            crawl.frontier.hosts()


def test_a_record_damaged_while_it_runs_says_so(crawl: Crawl, name: str) -> None:
    for damage in ("{", f'{{"name":"{name}","shards":1000000}}', '{"name":"other"}', b'{"name":"\xff"}'):
        admin.hset(f"crawler:{{{name}:0}}", "record", damage)
        for verb in (crawl.frontier.record, lambda: crawl.frontier.update_record(paused=True)):
            with pytest.raises(SettingsError, match=r"record is damaged.*crawler rm"):
                verb()


def test_letters_that_are_no_text_are_shown_as_damaged(crawl: Crawl, key: Any) -> None:
    crawl.add(*pages("1", "2"))
    crawl.settle(Bury("http_404", "detail"), *crawl.lease(2))
    (member,) = admin.zrange(key("dead"), 0, 0)
    admin.zrem(key("dead"), member)
    admin.zadd(key("dead"), {member.replace(b"detail", b"de\xff\xffil"): 1})
    assert [letter.reason for letter in crawl.frontier.dead()] == ["damaged_record", "http_404"]
    assert crawl.frontier.drop(reason="damaged_record") == 1


def test_a_clock_set_back_does_not_cut_a_delay_short(open_crawl: Open) -> None:
    crawl = open_crawl(delay_s=10.0)
    crawl.add(*many(3))
    for tell in (crawl.done, lambda lease: crawl.frontier.fetched([lease.token])):
        lease = crawl.one()
        crawl.clock.wait(-3_600)
        tell(lease)
        crawl.clock.wait(9)
        assert crawl.lease() == [], "the host was left alone for 9 s only"
        crawl.clock.wait(2)
    assert len(crawl.lease()) == 1
