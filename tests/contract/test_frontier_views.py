"""What the frontier says when it is only asked - trace, peek, shards, each host's counters - and `purge`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.model import Bury, Done, Request, Retry, Settlement
from crawler.url import fingerprint
from crawler.view import Finish, Host, Trace
from tests.contract.frontiers import Crawl, balanced, make_suspects, many, pages

Open = Callable[..., Crawl]
GONE = Bury("http_404", "not found")
LATER = Retry(30.0, "http_500")


def page(name: str, host: str = "a.test", **fields: object) -> Request:
    (request,) = pages(name, host=host, **fields)
    return request


def trace(crawl: Crawl, request: Request, host: str = "a.test") -> Trace:
    return crawl.frontier.trace(fingerprint(request), host)


def later(crawl: Crawl, *names: str, seconds: float = 30.0, host: str = "a.test") -> list[Request]:
    return pages(*names, host=host, not_before_ms=crawl.clock.now_ms + round(seconds * 1000))


def peeked(crawl: Crawl, host: str | None = None, limit: int = 100) -> list[str]:
    """As `state host/name`."""
    rows = crawl.frontier.peek(host=host, limit=limit)
    assert all(row.request is not None and row.fingerprint == fingerprint(row.request) for row in rows)
    return [f"{row.state} {row.request.url.removeprefix('http://')}" for row in rows if row.request is not None]


def places(crawl: Crawl, host: str = "a.test") -> dict[str, int]:
    """The counters of a host that are not 0."""
    found = crawl.frontier.host(host)
    listed = {one.name: one for one in crawl.frontier.hosts(limit=100)}
    fields = ("ready", "in_flight", "delayed", "dead", "done")
    if host in listed:
        assert all(getattr(found, field) == getattr(listed[host], field) for field in fields)
    return {field: getattr(found, field) for field in fields if getattr(found, field)}


class TestTrace:
    def test_unseen(self, crawl: Crawl) -> None:
        crawl.add(page("1"))
        for host in ("a.test", "unknown.test"):
            expected = Trace(fingerprint=fingerprint(page("2")), state="unseen", host=host)
            assert trace(crawl, page("2"), host) == expected

    @pytest.mark.parametrize(
        ("order", "ahead"), [("fifo", {"1": 2, "2": 3, "5": 0, "6": 1}), ("lifo", {"1": 3, "2": 2, "5": 1, "6": 0})]
    )
    def test_ready_tells_how_many_go_first(self, open_crawl: Open, order: str, ahead: dict[str, int]) -> None:
        crawl = open_crawl(order=order)
        requests = {name: page(name, priority=9 if name > "4" else 0) for name in ahead}
        crawl.add(*requests.values(), *many(5, "b.test"))
        for name, request in requests.items():
            expected = Trace(
                fingerprint=fingerprint(request), state="ready", request=request, host="a.test", ahead=ahead[name]
            )
            assert trace(crawl, request) == expected

    def test_delayed_tells_when_it_is_due(self, crawl: Crawl) -> None:
        (request,) = later(crawl, "1", seconds=30)
        crawl.add(request)
        crawl.clock.wait(12.5)
        key = fingerprint(request)
        assert trace(crawl, request) == Trace(
            fingerprint=key, state="delayed", request=request, host="a.test", due_s=17.5
        )
        crawl.clock.wait(100)
        assert trace(crawl, request).due_s == 0, "nobody asked yet, so it was not promoted"
        crawl.frontier.lease(0, worker="w1", request_id=f"{7:032x}")
        assert trace(crawl, request).state == "ready"

    def test_a_retried_one_keeps_its_attempts(self, crawl: Crawl) -> None:
        crawl.add(page("1"))
        for attempts in (1, 2):
            crawl.settle(Retry(1.5, "http_500"), crawl.one())
            found = trace(crawl, page("1"))
            assert (found.state, found.attempts, found.due_s) == ("delayed", attempts, 1.5)
            crawl.clock.wait(1.5)
        crawl.settle(Retry(0.0, "http_500"), crawl.one())
        found = trace(crawl, page("1"))
        assert (found.state, found.attempts, found.due_s, found.ahead) == ("ready", 3, None, 0)

    def test_leased_tells_to_whom_and_how_long(self, crawl: Crawl) -> None:
        crawl.add(page("1"), page("2"))
        crawl.lease(1, "w1")
        second = crawl.one("w2")
        crawl.clock.wait(25)
        crawl.frontier.renew([second.token])
        crawl.clock.wait(5)
        for name, worker, due_s in (("1", "w1", 30.0), ("2", "w2", 55.0)):
            expected = Trace(
                fingerprint=fingerprint(page(name)),
                state="leased",
                request=page(name),
                host="a.test",
                worker=worker,
                due_s=due_s,
            )
            assert trace(crawl, page(name)) == expected
        crawl.frontier.fetched([second.token])
        assert trace(crawl, page("2")).state == "leased"
        crawl.frontier.release([second.token])
        assert trace(crawl, page("2")).state == "ready"

    def test_suspect(self, crawl: Crawl) -> None:
        make_suspects(crawl, page("1"))
        expected = Trace(fingerprint=fingerprint(page("1")), state="suspect", request=page("1"), host="a.test")
        assert trace(crawl, page("1")) == expected
        crawl.one("w2")
        found = trace(crawl, page("1"))
        assert (found.state, found.worker) == ("leased", "w2")
        crawl.frontier.forfeit("w2")
        assert (trace(crawl, page("1")).state, trace(crawl, page("1")).crashes) == ("suspect", 1)

    def test_dead_tells_why_and_when(self, crawl: Crawl) -> None:
        crawl.add(page("1"))
        crawl.settle(Retry(0.0, "http_500"), crawl.one())
        lease = crawl.one()
        crawl.clock.wait(3)
        crawl.settle(GONE, lease)
        died_ms = crawl.clock.now_ms
        crawl.clock.wait(3)
        assert trace(crawl, page("1")) == Trace(
            fingerprint=fingerprint(page("1")),
            state="dead",
            request=page("1"),
            host="a.test",
            attempts=1,
            reason="http_404",
            detail="not found",
            died_ms=died_ms,
        )
        crawl.frontier.kick()
        assert (trace(crawl, page("1")).state, trace(crawl, page("1")).attempts) == ("ready", 0)

    def test_done_dropped_and_purged_are_done(self, crawl: Crawl) -> None:
        crawl.add(*pages("done", "dropped", "purged"))
        done, dropped = crawl.lease(2)
        crawl.done(done)
        crawl.settle(GONE, dropped)
        crawl.frontier.drop()
        crawl.frontier.purge()
        for name in ("done", "dropped", "purged"):
            assert trace(crawl, page(name)) == Trace(fingerprint=fingerprint(page(name)), state="done", host="a.test")

    def test_ready_while_its_robots_txt_is_leased(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(page("1"))
        robots = crawl.one()
        assert trace(crawl, page("1")).state == "ready"
        assert trace(crawl, robots.request).state == "unseen", "a robots.txt is no page"
        crawl.allow_robots(robots)
        crawl.one()
        assert trace(crawl, page("1")).state == "leased"

    def test_every_field_of_the_request_is_told(self, crawl: Crawl) -> None:
        request = page("1", method="POST", body=b"\x00\xff", headers=(("A", "b"),), depth=3, meta={"x": [1, None]})
        crawl.add(request)
        assert trace(crawl, request).request == request


class TestPeek:
    def test_nothing_waits(self, crawl: Crawl) -> None:
        assert crawl.frontier.peek() == ()
        assert crawl.frontier.peek(host="unknown.test") == ()
        crawl.add(page("1"))
        crawl.one()
        assert crawl.frontier.peek() == crawl.frontier.peek(host="a.test") == ()

    @pytest.mark.parametrize(("order", "first"), [("fifo", ["5", "6", "1", "2"]), ("lifo", ["6", "5", "2", "1"])])
    def test_a_hosts_in_the_order_of_leasing_then_the_delayed_by_time(
        self, open_crawl: Open, order: str, first: list[str]
    ) -> None:
        crawl = open_crawl(order=order)
        crawl.add(*later(crawl, "last", seconds=9), *later(crawl, "x", "y", seconds=5), page("b", "b.test"))
        crawl.add(*(page(name, priority=9 if name > "4" else 0) for name in ("1", "2", "5", "6")))
        expected = [f"ready a.test/{name}" for name in first] + [
            f"delayed a.test/{name}" for name in ("x", "y", "last")
        ]
        assert peeked(crawl, "a.test") == expected
        rows = crawl.frontier.peek(host="a.test", limit=100)
        assert [row.ahead for row in rows] == [0, 1, 2, 3, 0, 0, 0]
        assert [row.due_s for row in rows] == [None] * 4 + [5.0, 5.0, 9.0]
        assert {row.host for row in rows} == {"a.test"}
        for limit in range(9):
            assert peeked(crawl, "a.test", limit) == expected[:limit]

    def test_it_is_told_as_it_would_be_leased(self, crawl: Crawl) -> None:
        for host in ("a.test", "b.test", "c.test"):
            crawl.add(*many(5, host)[: 2 if host == "b.test" else 5])
            crawl.clock.wait(1)
        crawl.lease(1)
        waiting = peeked(crawl)
        assert len(waiting) == 11
        leases = crawl.lease(100)
        assert waiting == [f"ready {lease.request.url.removeprefix('http://')}" for lease in leases]

    def test_hosts_take_turns_by_when_they_are_next_due(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=10.0)
        crawl.add(page("1", "a.test"), page("2", "a.test"), page("1", "b.test"), page("2", "b.test"))
        crawl.done(*crawl.lease(1))  # a waits for its delay
        crawl.add(page("1", "c.test"), page("1", "d.test"))
        crawl.frontier.set_host("c.test", pause_s=5.0)
        crawl.clock.wait(0.001)
        crawl.lease(1)  # b is in flight
        assert peeked(crawl) == ["ready d.test/1", "ready b.test/2", "ready c.test/1", "ready a.test/2"]
        assert peeked(crawl, limit=2) == ["ready d.test/1", "ready b.test/2"]

    def test_rounds_then_all_that_is_delayed(self, crawl: Crawl) -> None:
        crawl.add(*later(crawl, "z", seconds=2, host="c.test"), *later(crawl, "z", seconds=1))
        crawl.add(*many(3, "b.test"), *many(2, "a.test"))
        rows = crawl.frontier.peek(limit=100)
        assert peeked(crawl) == [
            *("ready a.test/0", "ready b.test/0", "ready a.test/1", "ready b.test/1", "ready b.test/2"),
            *("delayed a.test/z", "delayed c.test/z"),
        ]
        assert [row.ahead for row in rows] == [0, 0, 1, 1, 2, 0, 0]
        assert [row.due_s for row in rows][5:] == [1.0, 2.0]

    def test_hosts_that_can_give_nothing_are_told_too(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True, per_host=1, host_failures_max=1)
        crawl.add(page("1", "asked.test"), page("1", "down.test"), page("2", "down.test"), page("1", "full.test"))
        asked, down, full = crawl.lease(3)
        crawl.allow_robots(full)
        assert crawl.one().host == "full.test"
        crawl.add(page("2", "full.test"))
        crawl.settle(Retry(0.0, "connect", "host"), down)
        assert asked.robots
        expected = [f"ready {one}" for one in ("asked.test/1", "full.test/2", "down.test/1", "down.test/2")]
        assert peeked(crawl) == expected, "the pause of a failure counts as any"
        assert peeked(crawl, "down.test") == ["ready down.test/1", "ready down.test/2"], "until a lease buries them"
        crawl.ask(0)
        assert peeked(crawl) == expected[:2]

    def test_it_changes_nothing(self, crawl: Crawl) -> None:
        crawl.add(*many(3), *later(crawl, "z"))
        before = crawl.counts, crawl.frontier.hosts(), crawl.frontier.workers()
        crawl.frontier.peek()
        crawl.frontier.peek(host="a.test")
        crawl.frontier.peek(host="unknown.test")
        trace(crawl, page("1"))
        trace(crawl, page("1"), "unknown.test")
        assert (crawl.counts, crawl.frontier.hosts(), crawl.frontier.workers()) == before


class TestPurge:
    def test_what_is_pending_of_one_host(self, crawl: Crawl) -> None:
        crawl.add(*many(3), *later(crawl, "x", "y"), *many(2, "b.test"), *later(crawl, "x", host="b.test"))
        assert crawl.frontier.purge(host="a.test") == 5
        assert (crawl.counts.ready, crawl.counts.delayed, crawl.counts.dropped) == (2, 1, 5)
        assert places(crawl) == {}
        assert places(crawl, "b.test") == {"ready": 2, "delayed": 1}
        assert peeked(crawl, "a.test") == []
        assert balanced(crawl.frontier)
        assert crawl.add(*many(3)) == 0, "their URLs stay seen"
        crawl.clock.wait(60)
        assert {lease.host for lease in crawl.lease(100)} == {"b.test"}

    def test_all(self, crawl: Crawl) -> None:
        crawl.add(*many(3), *later(crawl, "x"), *many(2, "b.test"))
        assert crawl.frontier.purge() == 6
        assert (crawl.counts.ready, crawl.counts.delayed, crawl.counts.dropped) == (0, 0, 6)
        assert crawl.frontier.purge() == 0
        assert crawl.ask().next_due_s is None
        assert balanced(crawl.frontier)

    @pytest.mark.parametrize("host", ["unknown.test", ""])
    def test_an_unknown_host(self, crawl: Crawl, host: str) -> None:
        crawl.add(*many(3))
        assert crawl.frontier.purge(host=host) == 0
        assert crawl.counts.ready == 3

    @pytest.mark.parametrize("host", [None, "a.test"])
    def test_leased_suspects_and_dead_stay(self, crawl: Crawl, host: str | None) -> None:
        make_suspects(crawl, page("suspect"))
        crawl.add(page("dead"), page("leased"), page("ready"), *later(crawl, "delayed"))
        dead, leased = crawl.lease(2)
        crawl.settle(GONE, dead)
        assert crawl.frontier.purge(host=host) == 2
        counts = crawl.counts
        assert (counts.leased, counts.suspects, counts.dead, counts.dropped) == (1, 1, 1, 2)
        assert places(crawl) == {"in_flight": 1, "dead": 1}
        assert crawl.settle(Retry(0.0, "http_500"), leased) == ()
        assert places(crawl) == {"ready": 1, "dead": 1}, "what comes back is pending again"

    def test_a_crawl_is_over_when_all_is_purged(self, crawl: Crawl) -> None:
        token = crawl.frontier.open_producer("seeds")
        crawl.frontier.add([*many(3), *later(crawl, "x")], producer=token)
        crawl.frontier.close_producer(token)
        lease = crawl.one()
        crawl.frontier.purge()
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.done(lease)
        assert crawl.frontier.finished() is Finish.FINISHED

    def test_many(self, crawl: Crawl) -> None:
        for host in ("a.test", "b.test"):
            crawl.add(*many(1200, host), *later(crawl, *(f"later{number}" for number in range(700)), host=host))
        assert crawl.frontier.purge(host="b.test") == 1900
        assert crawl.frontier.purge() == 1900
        assert (crawl.counts.dropped, crawl.counts.ready, crawl.counts.delayed) == (3800, 0, 0)

    def test_delayed_ones_that_are_due_already(self, crawl: Crawl) -> None:
        crawl.add(*later(crawl, "x", "y"))
        crawl.clock.wait(60)
        assert crawl.frontier.purge() == 2
        assert crawl.lease(10) == []

    def test_it_makes_room_for_producers(self, open_crawl: Open) -> None:
        crawl = open_crawl(pending_max=2)
        token = crawl.frontier.open_producer("seeds")
        crawl.frontier.add(many(2), producer=token)
        assert crawl.frontier.add(many(1, "b.test"), producer=token).full
        crawl.frontier.purge(host="a.test")
        assert crawl.frontier.add(many(1, "b.test"), producer=token).new == 1

    def test_politeness_stays(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=10.0)
        crawl.add(*many(3))
        crawl.done(crawl.one())
        crawl.frontier.purge()
        crawl.add(page("new"))
        assert crawl.ask().next_due_s == 10.001

    def test_a_host_that_is_down(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        crawl.add(*many(3))
        crawl.settle(Retry(0.0, "connect", "host"), crawl.one())
        assert crawl.frontier.purge() == 3
        assert crawl.ask().next_due_s is None
        assert crawl.frontier.host("a.test").down
        assert crawl.counts.dead == 0

    def test_while_its_robots_txt_is_asked_for(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*many(3))
        robots = crawl.one()
        assert crawl.frontier.purge() == 3
        crawl.allow_robots(robots)
        assert crawl.lease(10) == []
        crawl.add(page("new"))
        assert crawl.one().request == page("new")


class TestHostCounters:
    """ready, in_flight, delayed, dead, done of a host after each transition."""

    def test_add_and_lease(self, crawl: Crawl) -> None:
        assert places(crawl) == {}
        crawl.add(*many(3), *later(crawl, "x", "y"))
        assert places(crawl) == {"ready": 3, "delayed": 2}
        lease = crawl.one()
        assert places(crawl) == {"ready": 2, "in_flight": 1, "delayed": 2}
        crawl.frontier.fetched([lease.token])
        assert places(crawl) == {"ready": 2, "delayed": 2}

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (Done(), {"done": 1}),
            (Done("redirect"), {"done": 1}),
            (Done("robots", fetched=False), {"done": 1}),
            (Retry(5.0, "http_500"), {"delayed": 1}),
            (Retry(0.0, "http_500"), {"ready": 1}),
            (Retry(5.0, "http_503", "host"), {"ready": 1}),
            (GONE, {"dead": 1}),
        ],
    )
    def test_settle(self, crawl: Crawl, outcome: Done | Retry | Bury, expected: dict[str, int]) -> None:
        crawl.add(page("1"), page("1", "b.test"))
        lease, _ = crawl.lease(2)
        crawl.settle(outcome, lease)
        assert places(crawl) == expected
        assert places(crawl, "b.test") == {"in_flight": 1}
        crawl.settle(outcome, lease)
        assert places(crawl) == expected, "a stale token counts nothing"

    def test_promotion(self, crawl: Crawl) -> None:
        crawl.add(*later(crawl, "x", "y"), *later(crawl, "x", host="b.test"))
        crawl.clock.wait(30)
        crawl.ask(0)
        assert places(crawl) == {"ready": 2}
        assert places(crawl, "b.test") == {"ready": 1}

    def test_release_and_forfeit(self, crawl: Crawl) -> None:
        crawl.add(*many(3))
        crawl.frontier.release([crawl.one().token])
        assert places(crawl) == {"ready": 3}
        crawl.lease(2)
        crawl.frontier.forfeit("w1")
        assert places(crawl) == {"ready": 1}
        assert crawl.counts.suspects == 2

    def test_crashed(self, open_crawl: Open) -> None:
        crawl = open_crawl(crashes_max=1)
        make_suspects(crawl, page("1"))
        crawl.one()
        crawl.frontier.forfeit("w1")
        assert places(crawl) == {"dead": 1}

    def test_host_down(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        make_suspects(crawl, page("suspect"))
        crawl.add(*many(3), page("1", "b.test"))
        lease, _ = crawl.lease(2)
        crawl.settle(Retry(0.0, "connect", "host"), lease)
        crawl.ask(0)
        assert places(crawl) == {"dead": 4}
        assert crawl.frontier.kick(host="a.test") == 4
        assert places(crawl) == {"ready": 4}

    def test_kick_and_drop(self, crawl: Crawl) -> None:
        crawl.add(*many(3), *many(2, "b.test"))
        crawl.settle(GONE, *crawl.lease(5))
        assert places(crawl) == {"dead": 3}
        assert crawl.frontier.kick(fingerprint=fingerprint(page("0"))) == 1
        assert places(crawl) == {"ready": 1, "dead": 2}
        assert crawl.frontier.drop(host="a.test") == 2
        assert places(crawl) == {"ready": 1}
        assert places(crawl, "b.test") == {"dead": 2}
        assert crawl.frontier.drop() == 2
        assert places(crawl, "b.test") == {}

    def test_damaged_batches_count_each_host_once(self, crawl: Crawl) -> None:
        crawl.add(*many(2), *many(2, "b.test"))
        leases = {(one.host, one.request.url[-1]): one.token for one in crawl.lease(4)}
        crawl.frontier.settle(
            [
                Settlement(leases["a.test", "0"], Done()),
                Settlement(leases["b.test", "0"], GONE),
                Settlement(leases["a.test", "0"], Done()),
                Settlement(leases["a.test", "1"], LATER),
                Settlement(leases["b.test", "1"], Done()),
            ]
        )
        assert places(crawl) == {"delayed": 1, "done": 1}
        assert places(crawl, "b.test") == {"dead": 1, "done": 1}

    def test_a_robots_txt_counts_nowhere(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(page("1"))
        crawl.allow_robots(crawl.one())
        assert places(crawl) == {"ready": 1}

    def test_clear(self, crawl: Crawl) -> None:
        crawl.add(*many(3), *later(crawl, "x"))
        crawl.settle(GONE, crawl.one())
        crawl.done(crawl.one())
        crawl.frontier.clear()
        assert crawl.frontier.host("a.test") == Host(name="a.test")


class TestShards:
    def test_an_empty_one(self, crawl: Crawl) -> None:
        (shard,) = crawl.frontier.shards()
        assert (shard.number, shard.counts, shard.oldest_s, shard.next_due_s) == (0, crawl.counts, 0.0, None)

    def test_counts_and_the_oldest(self, crawl: Crawl) -> None:
        crawl.add(*many(2))
        crawl.clock.wait(5)
        crawl.add(*many(2, "b.test"), *later(crawl, "x", host="c.test"))
        crawl.clock.wait(2)
        (shard,) = crawl.frontier.shards()
        assert (shard.counts, shard.oldest_s, shard.next_due_s) == (crawl.counts, 7.0, 0.0)
        crawl.lease(1)
        (shard,) = crawl.frontier.shards()
        assert (shard.counts, shard.oldest_s) == (crawl.counts, 2.0)

    def test_when_something_is_due_next(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=10.0)
        crawl.add(*many(3), *later(crawl, "x", seconds=15, host="b.test"))
        crawl.done(crawl.one())
        crawl.clock.wait(2)
        (shard,) = crawl.frontier.shards()
        assert (shard.oldest_s, shard.next_due_s) == (0.0, 8.001)
        crawl.clock.wait(8.001)
        crawl.lease(1)
        (shard,) = crawl.frontier.shards()
        assert (shard.oldest_s, shard.next_due_s) == (0.0, 4.999), "the host has no room; the delayed one has time"
        crawl.clock.wait(60)
        (shard,) = crawl.frontier.shards()
        assert (shard.oldest_s, shard.next_due_s) == (0.0, 0.0)

    def test_hosts_that_can_give_nothing_do_not_count(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        crawl.add(*many(3))
        crawl.settle(Retry(0.0, "connect", "host"), crawl.one())
        crawl.clock.wait(60)
        (shard,) = crawl.frontier.shards()
        assert (shard.oldest_s, shard.next_due_s) == (0.0, None)


def test_hints(crawl: Crawl) -> None:
    """What a caller may rely on of any store: an epoch that stays while nothing breaks, and a listen that costs it
    nothing."""
    before = crawl.frontier.epoch()
    crawl.frontier.listen(lambda: None)
    crawl.add(*many(3))
    crawl.drain()
    assert crawl.frontier.epoch() == before
