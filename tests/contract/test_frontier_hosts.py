"""The frontier's rules for hosts: delay, requests in flight, robots.txt, host failures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.frontier import REAP_MAX
from crawler.model import Bury, Done, Request, Retry, Robots, Settlement
from crawler.view import Host
from tests.contract.frontiers import START_MS, Crawl, make_suspects, many, name, names, pages

Open = Callable[..., Crawl]
HOST_TROUBLE = Retry(0.0, "connect", "host")


class TestHosts:
    def test_with_a_delay_one_is_in_flight_and_the_delay_runs_from_the_end_of_the_fetch(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=0.2, per_host=5)
        crawl.add(*many(3))
        (lease,) = crawl.lease(5)
        crawl.clock.wait(10)
        assert crawl.ask(5, "w2").leases == ()
        crawl.frontier.fetched([lease.token])
        crawl.clock.wait(0.2)
        asked = crawl.ask(5, "w2")
        assert (asked.leases, asked.next_due_s) == ((), 0.001)
        crawl.clock.wait(0.001)
        assert len(crawl.lease(5, "w2")) == 1

    def test_fetched_twice_or_settled_after_does_not_start_it_again(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.add(*many(2))
        lease = crawl.one()
        crawl.frontier.fetched([lease.token, lease.token])
        crawl.clock.wait(0.9)
        crawl.frontier.fetched([lease.token])
        crawl.done(lease)
        crawl.clock.wait(0.101)
        assert len(crawl.lease()) == 1

    @pytest.mark.parametrize("end", ["settle", "forfeit", "lapse"])
    def test_every_end_of_a_lease_starts_the_delay(self, open_crawl: Open, end: str) -> None:
        crawl = open_crawl(delay_s=3.0)
        crawl.add(*many(2))
        lease = crawl.one("w1")
        if end == "settle":
            crawl.done(lease)
        elif end == "forfeit":
            crawl.frontier.forfeit("w1")
        else:
            crawl.pass_time(60)
        crawl.clock.wait(3 if end == "settle" else 6)  # the fetch of a dead worker may go on at the server
        assert crawl.lease(1, "w2") == []
        crawl.clock.wait(0.001)
        assert name(crawl.one("w2")) == "1"

    @pytest.mark.parametrize("robots", [False, True])
    def test_what_is_given_back_to_a_paused_host_waits_with_it(self, open_crawl: Open, robots: bool) -> None:
        crawl = open_crawl(per_host=2, robots=robots)
        crawl.add(*many(2))
        leases = crawl.lease(2)
        crawl.frontier.set_host("a.test", pause_s=30)
        crawl.frontier.release([lease.token for lease in leases])
        asked = crawl.ask(2, "w2")
        assert (asked.leases, asked.next_due_s) == ((), 30.0)
        crawl.clock.wait(30.001)
        again = crawl.lease(2, "w2")
        assert [(one.request, one.attempts) for one in again] == [(one.request, 0) for one in leases]

    def test_a_page_that_was_not_asked_for_starts_no_delay(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=3.0)
        crawl.add(*many(2))
        crawl.frontier.settle([Settlement(crawl.one().token, Done("robots", fetched=False))])
        assert name(crawl.one()) == "1"

    @pytest.mark.parametrize("per_host", [1, 3])
    def test_without_a_delay_per_host_are_in_flight(self, open_crawl: Open, per_host: int) -> None:
        crawl = open_crawl(per_host=per_host)
        crawl.add(*many(9), *many(9, "b.test"))
        leases = crawl.lease(20)
        assert len(leases) == 2 * per_host
        assert crawl.lease(20, "w2") == []
        crawl.frontier.fetched([leases[0].token])
        (more,) = crawl.lease(20, "w2")
        assert more.host == leases[0].host

    def test_a_hosts_own_delay_wins(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.frontier.set_host("a.test", delay_s=7.0)
        crawl.frontier.set_host("b.test", delay_s=0.0)
        crawl.add(*many(2), *many(2, "b.test"))
        crawl.done(*crawl.lease(2))
        assert [lease.host for lease in crawl.lease(9)] == ["b.test"]
        crawl.clock.wait(7)
        assert crawl.lease(1) == []
        crawl.clock.wait(0.001)
        assert crawl.one().host == "a.test"
        own = Host(name="a.test", delay_s=7.0, pace_s=7.0, pacer="own", in_flight=1, done=1)
        assert crawl.frontier.host("a.test") == own

    def test_a_pause_holds_the_host_and_can_be_ended(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        crawl.frontier.set_host("a.test", pause_s=30)
        assert crawl.ask().next_due_s == 30.0
        assert crawl.frontier.host("a.test").paused_s == 30.0
        crawl.frontier.set_host("a.test", pause_s=0)
        assert len(crawl.lease()) == 1

    def test_politeness_outlives_the_queue(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=5.0)
        crawl.add(*pages("1"))
        crawl.done(crawl.one())
        crawl.add(*pages("2"))
        assert crawl.lease() == []

    def test_ports_are_hosts(self, open_crawl: Open) -> None:
        crawl = open_crawl(per_host=1)
        crawl.add(*pages("1"), *pages("1", host="a.test:8080"), Request(url="https://a.test/"))
        assert sorted(lease.host for lease in crawl.lease(9)) == ["a.test", "a.test:8080"]

    def test_hosts_lists_the_fullest_first(self, crawl: Crawl) -> None:
        crawl.add(*many(1), *many(3, "b.test"), *many(2, "c.test"))
        assert [(host.name, host.ready) for host in crawl.frontier.hosts(2)] == [("b.test", 3), ("c.test", 2)]
        assert crawl.frontier.host("unknown.test") == Host(name="unknown.test")
        assert crawl.counts.hosts == 3

    def test_what_came_behind_others_counts_too(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        for number in range(12):
            crawl.add(*pages(str(number), priority=number % 3), *pages(f"x{number}", host="b.test"))
            assert crawl.frontier.host("a.test").ready == number + 1
        assert [(host.name, host.ready) for host in crawl.frontier.hosts()] == [("a.test", 12), ("b.test", 12)]
        taken = [lease for lease in crawl.lease(10) if lease.host == "a.test"]
        assert names(taken) == ["2", "5", "8", "11", "1"]
        assert crawl.frontier.host("a.test").ready == 7
        crawl.settle(Retry(1.0, "http_500"), taken[0])
        crawl.add(*pages("12"))
        assert [name(row) for row in crawl.frontier.peek(host="a.test", limit=20)] == [
            *"4",
            "7",
            "10",
            *"0369",
            "12",
            "2",
        ]
        assert crawl.frontier.purge(host="b.test") == 7
        crawl.settle(Retry(1.0, "connect", blame="host"), taken[1])
        crawl.clock.wait(60)
        assert crawl.lease() == []
        assert sorted(letter.reason for letter in crawl.frontier.dead()) == ["host_down"] * 10
        assert crawl.counts.ready == crawl.frontier.host("a.test").ready == 0


class TestRobots:
    def test_come_first_and_hold_the_host(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1", "2"), *pages("1", host="b.test"))
        robots = crawl.lease(9)
        assert {lease.request.url for lease in robots} == {"http://a.test/robots.txt", "http://b.test/robots.txt"}
        assert all(lease.robots and not lease.alone and lease.robots_ms == 0 for lease in robots)
        assert crawl.lease(9, "w2") == []
        assert (crawl.counts.leased, crawl.counts.ready) == (0, 3)
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test", text="User-agent: *"))
        assert crawl.lease(9, "w2") == []
        crawl.done(*robots)
        leases = crawl.lease(9, "w2")
        assert names(lease for lease in leases if not lease.robots) == ["1", "2"]
        assert [lease.request.url for lease in leases if lease.robots] == ["http://b.test/robots.txt"]

    def test_robots_leases_are_counted_nowhere(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1"))
        crawl.allow_robots(crawl.one())
        counts = crawl.counts
        assert (counts.added, counts.ready, counts.done, counts.pages, counts.reasons) == (1, 1, 0, 0, {})
        (row,) = crawl.frontier.workers()
        assert (row.pages, row.leased) == (0, 0)

    def test_the_record_reaches_every_worker_with_its_stamp(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1", "2"))
        crawl.allow_robots(crawl.one())
        (record,) = crawl.frontier.host("a.test").robots
        assert (record.origin, record.fetched_ms > 0) == ("http://a.test", True)
        assert crawl.one("w2").robots_ms == record.fetched_ms
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test"))
        assert crawl.one("w2").robots_ms > record.fetched_ms

    def test_records_of_many_origins_come_at_once_without_those_that_expired(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        origins = [f"http://h{number}.test" for number in range(250)]
        for number, origin in enumerate(origins[:120]):
            expires_s = 10.0 if number % 2 else 20.0
            crawl.frontier.set_host(
                f"h{number}.test", robots=Robots(origin=origin, text=f"#{number}", expires_s=expires_s)
            )
        asked = ["https://h0.test", *reversed(origins)]
        found = crawl.frontier.robots(asked)
        assert [one.origin for one in found] == [origin for origin in asked if origin in origins[:120]]
        assert [one.text for one in found] == [f"#{number}" for number in range(119, -1, -1)]
        assert found[0] == crawl.frontier.host("h119.test").robots[0]
        crawl.clock.wait(10)
        assert [one.text for one in crawl.frontier.robots(origins)] == [f"#{number}" for number in range(0, 120, 2)]
        assert crawl.frontier.robots([]) == ()

    def test_two_origins_on_one_host(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True, per_host=9)
        crawl.add(Request(url="http://a.test/1"), Request(url="https://a.test/2"), Request(url="http://a.test/3"))
        crawl.allow_robots(crawl.one())
        page, robots = crawl.lease(9)
        assert (page.request.url, robots.request.url) == ("http://a.test/1", "https://a.test/robots.txt")
        assert crawl.lease(9, "w2") == []
        crawl.allow_robots(robots)
        assert [lease.request.url for lease in crawl.lease(9)] == ["https://a.test/2", "http://a.test/3"]

    def test_an_expired_record_is_fetched_again(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1", "2"))
        lease = crawl.one()
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test", expires_s=100))
        crawl.done(lease, crawl.one("w9") if crawl.lease(1, "w9") else lease)
        assert not crawl.one("w1").robots
        crawl.clock.wait(100)
        assert crawl.frontier.host("a.test").robots == ()
        assert crawl.one().robots

    @pytest.mark.parametrize("end", ["forfeit", "release", "lapse", "done without a record"])
    def test_the_origin_is_unknown_again_when_nobody_told(self, open_crawl: Open, end: str) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1"))
        lease = crawl.one("w1")
        if end == "forfeit":
            crawl.frontier.forfeit("w1")
        elif end == "release":
            crawl.frontier.release([lease.token])
        elif end == "lapse":
            crawl.pass_time(60)
        else:
            crawl.done(lease)
        assert crawl.one("w2").robots
        assert (crawl.counts.suspects, crawl.counts.crashes) == (0, 0)

    def test_robots_keep_the_delay(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True, delay_s=2.0)
        crawl.add(*pages("1"))
        crawl.allow_robots(crawl.one())
        assert crawl.ask().next_due_s == 2.001

    def test_host_trouble_with_robots_backs_off(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True, host_failures_max=2, host_backoff_s=4.0)
        crawl.add(*pages("1"))
        crawl.settle(HOST_TROUBLE, crawl.one())
        assert crawl.ask().next_due_s == 4.0
        crawl.clock.wait(4)
        crawl.settle(HOST_TROUBLE, crawl.one())
        crawl.lease()
        assert [dead.reason for dead in crawl.frontier.dead()] == ["host_down"]

    def test_a_suspects_robots_come_before_it(self, open_crawl: Open) -> None:
        crawl = open_crawl(robots=True)
        crawl.add(*pages("1"))
        crawl.allow_robots(crawl.one())
        crawl.one()
        crawl.frontier.forfeit("w1")
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test", expires_s=0.0))
        robots = crawl.one("w2")
        assert (robots.robots, robots.alone, crawl.counts.suspects) == (True, False, 1)
        crawl.allow_robots(robots)
        assert crawl.one("w2").alone


class TestHostFailures:
    def test_back_off_doubling_and_the_page_keeps_its_place(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_backoff_s=1.0, host_backoff_max_s=3.0, host_failures_max=9)
        crawl.add(*pages("1", "2"))
        pauses = []
        for _ in range(4):
            lease = crawl.one()
            assert (name(lease), lease.attempts) == ("1", 0)
            crawl.settle(HOST_TROUBLE, lease)
            pauses.append(crawl.frontier.host("a.test").paused_s)
            crawl.clock.wait(pauses[-1])
        assert pauses == [1.0, 2.0, 3.0, 3.0]
        assert crawl.frontier.host("a.test").failures == 4
        assert crawl.counts.reasons == {"retry:connect": 4}

    def test_retry_after_is_the_least_pause(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        crawl.settle(Retry(77.0, "http_429", "host"), crawl.one())
        assert crawl.frontier.host("a.test").paused_s == 77.0

    def test_one_event_is_one_step(self, crawl: Crawl) -> None:
        crawl.add(*many(8))
        first, *others = crawl.lease(8)
        crawl.settle(HOST_TROUBLE, first, *others)
        assert crawl.frontier.host("a.test").failures == 1
        crawl.clock.wait(1)
        early, late = crawl.lease(2)
        crawl.settle(HOST_TROUBLE, early)
        crawl.settle(HOST_TROUBLE, late)
        assert crawl.frontier.host("a.test").failures == 2

    @pytest.mark.parametrize("outcome", [Done(), Bury("x"), Retry(0.0, "x")])
    def test_any_answer_ends_the_row(self, crawl: Crawl, outcome: Done | Retry | Bury) -> None:
        crawl.add(*many(8))
        before = crawl.lease(2)
        crawl.settle(HOST_TROUBLE, before[0])
        crawl.settle(outcome, before[1])
        assert crawl.frontier.host("a.test").failures == 1, "given before the step: says nothing about the host now"
        crawl.clock.wait(1)
        crawl.settle(outcome, crawl.one())
        assert crawl.frontier.host("a.test").failures == 0

    def test_a_host_that_is_down_buries_its_pages_until_kicked(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=2)
        crawl.add(*many(REAP_MAX + 10))
        for _ in range(2):
            crawl.settle(HOST_TROUBLE, crawl.one())
            crawl.clock.wait(300)
        crawl.add(*pages("added later"))
        assert crawl.frontier.host("a.test").down
        crawl.ask(0)
        assert crawl.counts.reasons["bury:host_down"] == REAP_MAX
        crawl.ask(0)
        assert crawl.counts.reasons["bury:host_down"] == REAP_MAX + 11
        assert crawl.frontier.host("a.test").ready == 0
        assert crawl.frontier.kick(host="a.test") == REAP_MAX + 11
        assert crawl.frontier.host("a.test") == Host(name="a.test", ready=REAP_MAX + 11)
        assert len(crawl.lease(5, "w2")) == 5

    def test_its_suspects_and_delayed_pages_are_buried_too(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        make_suspects(crawl, *pages("suspect"))
        crawl.add(*pages("now"), *pages("later", not_before_ms=START_MS + 9000))
        crawl.settle(HOST_TROUBLE, crawl.one())
        crawl.ask(0)
        assert crawl.counts.dead == 2
        crawl.clock.wait(9)
        crawl.ask(0)
        assert {letter.request.url.rsplit("/")[-1] for letter in crawl.frontier.dead()} == {"now", "suspect", "later"}

    def test_pages_in_flight_may_still_end_well(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_failures_max=1)
        crawl.add(*many(2))
        bad, good = crawl.lease(2)
        crawl.settle(HOST_TROUBLE, bad)
        assert crawl.done(good) == ()
        assert crawl.frontier.host("a.test").down
