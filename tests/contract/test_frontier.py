"""The rules of `crawler.frontier`, over every adapter. Test names say the rule; the numbers are those of the port."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.error import LeaseLost
from crawler.frontier import LEASE_MAX, REAP_MAX
from crawler.model import REQUEST_BYTES_MAX, Added, Bury, Done, Finish, Host, Lease, Request, Retry, Robots, Settlement
from tests.contract.frontiers import START_MS, Crawl, many, name, names, pages, request_id

Open = Callable[..., Crawl]
HOST_TROUBLE = Retry(0.0, "connect", "host")


def suspects(crawl: Crawl, *requests: Request, worker: str = "doomed") -> None:
    """Make suspects of these requests: a worker that holds them dies."""
    crawl.add(*requests)
    crawl.lease(len(requests), worker)
    crawl.frontier.forfeit(worker)


class TestAdd:
    def test_a_page_is_admitted_once(self, crawl: Crawl) -> None:
        assert crawl.frontier.add(pages("1", "2", "1")) == Added(new=2, known=1)
        assert crawl.frontier.add(pages("2", "3")) == Added(new=1, known=1)
        crawl.done(*crawl.lease(3))
        assert crawl.frontier.add(pages("1", "2", "3")) == Added(known=3)
        assert crawl.counts.added == crawl.counts.done == 3

    def test_of_two_with_one_fingerprint_the_first_counts(self, crawl: Crawl) -> None:
        crawl.add(Request(url="http://a.test/", depth=1, priority=2), Request(url="http://a.test/", depth=5))
        crawl.add(Request(url="http://a.test/", depth=0, priority=9))
        assert crawl.one().request == Request(url="http://a.test/", depth=1, priority=2)

    def test_method_and_body_make_another_page(self, crawl: Crawl) -> None:
        assert crawl.add(*(Request(url="http://a.test/", method="POST", body=body) for body in (b"1", b"2", b"1"))) == 2

    def test_everything_of_a_request_comes_back(self, crawl: Crawl) -> None:
        request = Request(
            url="http://a.test/%C3%BC?q=%20",
            method="POST",
            headers=(("Accept", "*/*"),),
            body=b"\x00\xff",
            to="detail",
            depth=3,
            redirected_from=("http://a.test/old",),
            priority=9,
            visit=1,
            meta={"a": [1, None, "ü"]},
        )
        crawl.add(request)
        assert crawl.one().request == request

    def test_what_is_too_large_is_refused_and_stays_unseen(self, crawl: Crawl) -> None:
        large = Request(url="http://a.test/", meta={"x": "y" * REQUEST_BYTES_MAX})
        assert crawl.frontier.add([large, *pages("1"), large]) == Added(new=1, refused=2)
        assert crawl.frontier.add([Request(url="http://a.test/")]) == Added(new=1)

    def test_nothing_is_fine(self, crawl: Crawl) -> None:
        assert crawl.frontier.add([]) == Added()
        assert crawl.frontier.settle([]) == ()
        crawl.frontier.fetched([])
        crawl.frontier.release([])
        assert crawl.frontier.renew([]) == ()

    def test_not_before_waits(self, crawl: Crawl) -> None:
        crawl.add(*pages("later", not_before_ms=START_MS + 2500), *pages("now"))
        assert (crawl.counts.ready, crawl.counts.delayed) == (1, 1)
        assert names(crawl.lease(9)) == ["now"]
        assert crawl.ask(worker="w2").next_due_s == 2.5
        crawl.clock.wait(2.5)
        assert names(crawl.lease(9)) == ["later"]


class TestOrder:
    def test_fifo(self, open_crawl: Open) -> None:
        crawl = open_crawl(order="fifo")
        crawl.add(*pages("1", "2"))
        crawl.add(*pages("3"))
        assert crawl.drain() == ["1", "2", "3"]

    def test_lifo(self, open_crawl: Open) -> None:
        crawl = open_crawl(order="lifo")
        crawl.add(*pages("1", "2"))
        assert name(crawl.one()) == "2"
        crawl.add(*pages("3"))
        assert crawl.drain() == ["3", "1"]

    @pytest.mark.parametrize(("order", "expected"), [("fifo", "5a 5b 1a 1b 0a 0b"), ("lifo", "5b 5a 1b 1a 0b 0a")])
    def test_priority_goes_first(self, open_crawl: Open, order: str, expected: str) -> None:
        crawl = open_crawl(order=order)
        for letter in "ab":
            for priority in (1, 5, 0):
                crawl.add(*pages(f"{priority}{letter}", priority=priority))
        assert names(crawl.lease(9)) == expected.split()

    def test_retried_and_kicked_keep_their_place(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2", "3"))
        first, second = crawl.lease(2)
        crawl.settle(Retry(0.0, "x"), first)
        crawl.settle(Bury("x"), second)
        crawl.frontier.kick()
        assert crawl.drain() == ["1", "2", "3"]

    def test_one_call_spreads_over_the_hosts(self, crawl: Crawl) -> None:
        crawl.add(*many(5, "a.test"), *many(1, "b.test"), *many(5, "c.test"))
        hosts = [lease.host[0] for lease in crawl.lease(6)]
        assert "".join(hosts) == "abcaca"

    def test_the_host_due_for_longest_goes_first(self, crawl: Crawl) -> None:
        crawl.add(*many(3, "a.test"), *many(3, "b.test"))
        given = []
        for _ in range(4):
            crawl.clock.wait(1)
            given.append(crawl.one().host[0])
        assert "".join(given) == "abab"

    def test_a_call_gives_no_more_than_the_limit(self, crawl: Crawl) -> None:
        crawl.add(*many(LEASE_MAX + 5))
        assert len(crawl.lease(LEASE_MAX + 5)) == LEASE_MAX
        assert crawl.lease(0) == []


class TestTokens:
    def test_an_outcome_counts_once(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        lease = crawl.one()
        assert crawl.frontier.settle([Settlement(lease.token, Done()), Settlement(lease.token, Bury("x"))]) == (
            lease.token,
        )
        assert crawl.settle(Bury("x"), lease) == (lease.token,)
        assert (crawl.counts.done, crawl.counts.dead) == (1, 0)

    @pytest.mark.parametrize(
        "token", ["", ":", "x", "x:1", "0:1", ":1", "producer:1", "9" * 40, f"{'0' * 32}:{10**30}"]
    )
    def test_nonsense_is_stale(self, crawl: Crawl, token: str) -> None:
        crawl.add(*pages("1"))
        lease = crawl.one()
        assert crawl.frontier.settle([Settlement(token, Done())]) == (token,)
        assert crawl.frontier.renew([token]) == (token,)
        crawl.frontier.fetched([token])
        crawl.frontier.release([token])
        assert crawl.done(lease) == ()

    def test_a_late_worker_changes_nothing(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        late = crawl.one("w1")
        crawl.frontier.forfeit("w1")
        current = crawl.one("w2")
        assert current.token != late.token
        crawl.frontier.fetched([late.token])
        crawl.frontier.release([late.token])
        assert crawl.frontier.renew([late.token, current.token]) == (late.token,)
        assert crawl.settle(Bury("x"), late) == (late.token,)
        assert crawl.counts.leased == 1
        assert crawl.done(current) == ()

    def test_repeating_a_request_id_returns_what_is_still_current(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2", "3", "4"))
        id = request_id()
        first = crawl.frontier.lease(3, worker="w1", request_id=id)
        again = crawl.frontier.lease(3, worker="w1", request_id=id)
        assert again.leases == first.leases
        assert len({lease.token for lease in first.leases}) == 3
        crawl.done(first.leases[1])
        assert crawl.frontier.lease(3, worker="w1", request_id=id).leases == first.leases[::2]
        crawl.done(*first.leases)
        assert crawl.frontier.lease(3, worker="w1", request_id=id).leases == ()
        assert crawl.counts.ready == 1

    def test_tokens_stay_stale_after_clear(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        old, producer = crawl.one(), crawl.frontier.open_producer("p")
        crawl.frontier.clear()
        crawl.add(*pages("1"))
        assert crawl.frontier.open_producer("p") != producer
        new = crawl.one()
        assert crawl.done(old) == (old.token,)
        assert crawl.frontier.renew([producer]) == (producer,)
        assert crawl.done(new) == ()


class TestLapse:
    def test_a_lease_lapses_and_its_request_comes_back_alone(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        late = crawl.one("w1")
        crawl.pass_time(59)
        assert crawl.lease(1, "w2") == []
        crawl.pass_time(1)
        again = crawl.one("w2")
        assert (again.alone, again.crashes, again.request) == (True, 0, late.request)
        assert crawl.done(late) == (late.token,)

    def test_renewed_leases_stay(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2"))
        kept, lost = crawl.lease(2)
        for _ in range(5):
            crawl.pass_time(20)
            crawl.frontier.renew([kept.token])
        assert crawl.counts.suspects == 1
        assert crawl.done(kept, lost) == (lost.token,)

    def test_reaping_is_bounded(self, crawl: Crawl) -> None:
        crawl.add(*many(REAP_MAX + 10))
        crawl.lease(REAP_MAX)
        crawl.lease(10)
        crawl.pass_time(55)
        crawl.clock.wait(5)
        crawl.ask(0)
        assert (crawl.counts.suspects, crawl.counts.leased) == (REAP_MAX, 10)
        crawl.ask(0)
        assert (crawl.counts.suspects, crawl.counts.leased) == (REAP_MAX + 10, 0)

    def test_promotion_is_bounded(self, crawl: Crawl) -> None:
        crawl.add(*pages(*map(str, range(REAP_MAX + 10)), not_before_ms=START_MS + 1000))
        crawl.clock.wait(1)
        assert crawl.ask(0).leases == ()
        assert (crawl.counts.ready, crawl.counts.delayed) == (REAP_MAX, 10)
        crawl.ask(0)
        assert crawl.counts.delayed == 0

    @pytest.mark.parametrize("jump_s", [31.0, 3600.0, -31.0, -3600.0])
    def test_after_silence_or_a_clock_jump_nothing_lapses_for_a_lease(self, crawl: Crawl, jump_s: float) -> None:
        crawl.add(*pages("1"))
        lease = crawl.one()
        crawl.pass_time(40)
        crawl.clock.wait(jump_s)
        crawl.ask(0, "w2")
        crawl.pass_time(59)
        assert crawl.counts.leased == 1
        assert crawl.frontier.renew([lease.token]) == ()
        crawl.pass_time(61)
        assert crawl.counts.suspects == 1

    def test_without_a_jump_it_lapses(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        crawl.one()
        crawl.pass_time(61)
        assert crawl.counts.suspects == 1

    def test_silence_does_not_stop_forfeit(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        crawl.one("w1")
        crawl.clock.wait(1000)
        assert crawl.frontier.forfeit("w1") == 1
        assert crawl.one("w2").alone

    @pytest.mark.parametrize("back_s", [40.0, 86_400.0])
    def test_a_clock_set_back_keeps_what_remains_of_waits(self, open_crawl: Open, back_s: float) -> None:
        crawl = open_crawl(delay_s=2.0)
        crawl.add(*pages("1", "2"), *pages("3", host="b.test", not_before_ms=START_MS + 5000))
        crawl.done(crawl.one())
        crawl.clock.wait(-back_s)
        assert crawl.lease() == []
        crawl.clock.wait(2)
        assert crawl.lease() == []
        crawl.clock.wait(0.001)
        assert name(crawl.one()) == "2"
        crawl.clock.wait(2.999)
        assert name(crawl.one()) == "3"


class TestSuspects:
    def test_go_last(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("1"))
        crawl.add(*pages("2", "3"))
        assert crawl.drain() == ["2", "3", "1"]

    def test_go_to_empty_hands_only(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("1"))
        crawl.add(*pages("2"))
        busy = crawl.one("w1")
        assert crawl.lease(5, "w1") == []
        crawl.done(busy)
        assert crawl.one("w1").alone

    def test_one_at_a_time_and_nothing_beside(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("1", "2"))
        (alone,) = crawl.lease(5)
        crawl.add(*pages("3"))
        assert alone.alone
        assert crawl.ask(5).leases == ()
        crawl.done(alone)
        assert names(crawl.lease(5)) == ["3"]

    def test_only_a_death_alone_is_a_crash(self, open_crawl: Open) -> None:
        crawl = open_crawl(crashes_max=2)
        crawl.add(*pages("bad", "good"))
        assert [lease.alone for lease in crawl.lease(2, "w1")] == [False, False]
        crawl.frontier.forfeit("w1")
        assert (crawl.counts.crashes, crawl.counts.suspects) == (0, 2)
        for crashes in range(2):
            lease = crawl.one("w1")
            assert (name(lease), lease.alone, lease.crashes) == ("bad", True, crashes)
            crawl.frontier.forfeit("w1")
        (dead,) = crawl.frontier.dead()
        assert (dead.reason, dead.crashes, dead.request.url) == ("crashed", 2, "http://a.test/bad")
        assert (crawl.counts.reasons, crawl.counts.crashes) == ({"bury:crashed": 1}, 2)
        good = crawl.one("w1")
        assert (name(good), good.crashes) == ("good", 0)

    def test_deaths_with_others_never_bury(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2"))
        for _ in range(10):
            assert len(crawl.lease(2, "w1")) == 2
            crawl.frontier.forfeit("w1")
            crawl.settle(Retry(0.0, "x"), crawl.one("w2"), crawl.one("w3"))
        assert (crawl.counts.dead, crawl.counts.crashes) == (0, 0)

    @pytest.mark.parametrize("outcome", [Done(), Retry(0.0, "x"), Retry(9.0, "x"), HOST_TROUBLE, Bury("x")])
    def test_any_outcome_clears_the_suspicion(self, crawl: Crawl, outcome: Done | Retry | Bury) -> None:
        suspects(crawl, *pages("1"))
        crawl.settle(outcome, crawl.one())
        assert crawl.counts.suspects == 0
        crawl.clock.wait(10)
        assert not any(lease.alone for lease in crawl.lease())

    def test_a_suspect_given_back_is_still_one(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("1"))
        crawl.frontier.release([crawl.one().token])
        assert (crawl.counts.suspects, crawl.counts.crashes) == (1, 0)
        assert crawl.one("w2").alone

    def test_an_overdue_one_empties_one_workers_hands(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("s"))
        crawl.add(*many(20))
        first = crawl.lease(2, "w1")
        crawl.pass_time(59)
        second = crawl.lease(2, "w1")
        assert len(second) == 2
        crawl.pass_time(1)
        assert crawl.lease(2, "w1") == []
        assert len(crawl.lease(2, "w2")) == 2
        crawl.frontier.settle([Settlement(one.token, Done()) for one in (*first, *second[:1])])
        assert crawl.lease(2, "w1") == []
        crawl.done(*second)
        (overdue,) = crawl.lease(2, "w1")
        assert (name(overdue), overdue.alone) == ("s", True)
        assert len(crawl.lease(2, "w2")) == 2

    def test_another_takes_over_when_the_emptying_worker_dies(self, crawl: Crawl) -> None:
        suspects(crawl, *pages("s"))
        crawl.add(*many(20))
        crawl.pass_time(30)
        crawl.lease(2, "w1")
        crawl.pass_time(30)
        assert crawl.lease(2, "w1") == []
        crawl.frontier.forfeit("w1")
        assert name(crawl.one("w2")) == "s"

    def test_while_hands_are_emptied_a_polite_host_waits_for_its_suspect(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        suspects(crawl, *pages("s"))
        crawl.pass_time(59)
        crawl.add(*many(3, "a.test"), *many(3, "b.test"), *many(3, "c.test"))
        crawl.frontier.set_host("a.test", pause_s=0.5)
        held = crawl.lease(1, "w1")
        crawl.clock.wait(2)
        assert crawl.lease(5, "w1") == []
        assert [lease.host for lease in crawl.lease(5, "w2")] == ["c.test"]
        crawl.done(*held)
        overdue = crawl.one("w1")
        assert (name(overdue), overdue.alone) == ("s", True)

    def test_wait_for_their_host(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=5.0)
        suspects(crawl, *pages("1"))
        asked = crawl.ask()
        assert (asked.leases, asked.next_due_s) == ((), 5.001)
        crawl.clock.wait(5.001)
        assert crawl.one().alone


class TestRelease:
    def test_gives_back_uncharged_to_the_old_place(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2"))
        lease = crawl.one()
        crawl.frontier.release([lease.token])
        assert (crawl.counts.ready, crawl.counts.retries, crawl.counts.reasons) == (2, 0, {})
        again = crawl.one()
        assert (again.request, again.attempts, again.alone) == (lease.request, 0, False)
        assert crawl.done(lease) == (lease.token,)

    def test_frees_the_host_at_once_when_not_fetched(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=9.0)
        crawl.add(*pages("1"))
        crawl.frontier.release([crawl.one().token])
        lease = crawl.one()
        crawl.frontier.fetched([lease.token])
        crawl.frontier.release([lease.token])
        assert crawl.ask().next_due_s == 9.001


class TestForfeit:
    def test_ends_the_leases_of_that_worker_only(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2", "3"))
        crawl.lease(2, "w1")
        other = crawl.one("w10")
        assert crawl.frontier.forfeit("w1") == 2
        assert crawl.frontier.forfeit("w1") == crawl.frontier.forfeit("unknown") == 0
        assert crawl.done(other) == ()
        assert crawl.counts.suspects == 2

    def test_ends_its_producers(self, crawl: Crawl) -> None:
        tokens = [crawl.frontier.open_producer(name) for name in ("w1/links", "w10/links", "w1")]
        assert crawl.frontier.forfeit("w1") == 1
        assert crawl.frontier.renew(tokens) == (tokens[0],)
        assert (crawl.counts.producers_open, crawl.counts.producers_lost) == (2, 1)


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
        crawl.clock.wait(3)
        assert crawl.lease(1, "w2") == []
        crawl.clock.wait(0.001)
        assert name(crawl.one("w2")) == "1"

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
        assert crawl.frontier.host("a.test") == Host(name="a.test", delay_s=7.0, in_flight=1)

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
        suspects(crawl, *pages("suspect"))
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


class TestOutcomes:
    def test_done_counts_pages_items_bytes_and_reasons(self, crawl: Crawl) -> None:
        crawl.add(*many(3))
        first, second, third = crawl.lease(3)
        crawl.settle(Done(bytes=10, items=2), first)
        crawl.settle(Done(bytes=5, items=1), second)
        crawl.settle(Done("redirect"), third)
        counts = crawl.counts
        assert (counts.done, counts.pages, counts.items, counts.bytes) == (3, 2, 3, 15)
        assert counts.reasons == {"done:redirect": 1}

    def test_retry_waits_and_counts_an_attempt(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"))
        crawl.settle(Retry(1.5, "http_500"), crawl.one())
        assert (crawl.counts.delayed, crawl.counts.retries) == (1, 1)
        asked = crawl.ask()
        assert (asked.leases, asked.next_due_s) == ((), 1.5)
        crawl.clock.wait(1.5)
        assert crawl.one().attempts == 1

    def test_bury_keeps_reason_detail_and_history(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", depth=4))
        crawl.settle(Retry(0.0, "http_500"), crawl.one())
        crawl.clock.wait(2)
        lease = crawl.one()
        crawl.settle(Bury("http_404", "gone"), lease)
        (dead,) = crawl.frontier.dead()
        assert (dead.request, dead.fingerprint, dead.host) == (lease.request, lease.fingerprint, "a.test")
        assert (dead.reason, dead.detail, dead.attempts, dead.crashes) == ("http_404", "gone", 1, 0)
        assert dead.died_ms == crawl.clock.now_ms


class TestDeadLetters:
    @pytest.fixture
    def dead(self, crawl: Crawl) -> Crawl:
        crawl.add(*pages("1", "2", "3"), *pages("4", host="b.test"))
        leases = {name(lease): lease for lease in crawl.lease(9)}
        for page, reason in (("3", "http_404"), ("1", "http_500"), ("4", "http_404"), ("2", "http_500")):
            crawl.settle(Bury(reason), leases[page])
        return crawl

    def shown(self, crawl: Crawl, **filters: object) -> str:
        return "".join(one.request.url[-1] for one in crawl.frontier.dead(**filters))  # type: ignore[arg-type]

    def test_are_shown_in_order_of_death(self, dead: Crawl) -> None:
        assert self.shown(dead) == "3142"
        assert self.shown(dead, limit=2, after=1) == "14"
        assert self.shown(dead, reason="http_404") == "34"
        assert self.shown(dead, host="a.test", reason="http_404") == "3"
        assert self.shown(dead, host="unknown") == self.shown(dead, reason="unknown") == ""

    def test_kick_brings_back_what_matches(self, dead: Crawl) -> None:
        assert dead.frontier.kick(reason="http_404", host="b.test") == 1
        key = dead.frontier.dead(reason="http_500")[0].fingerprint
        assert dead.frontier.kick(fingerprint=key) == 1
        assert dead.frontier.kick(fingerprint=key) == dead.frontier.kick(host="unknown") == 0
        assert self.shown(dead) == "32"
        leases = dead.lease(9)
        assert {(name(lease), lease.attempts, lease.crashes) for lease in leases} == {("1", 0, 0), ("4", 0, 0)}

    def test_kick_forgets_attempts_and_crashes(self, open_crawl: Open) -> None:
        crawl = open_crawl(crashes_max=1)
        suspects(crawl, *pages("1"))
        crawl.one("w1")
        crawl.frontier.forfeit("w1")
        assert crawl.frontier.dead()[0].crashes == 1
        assert crawl.frontier.kick() == 1
        lease = crawl.one()
        assert (lease.attempts, lease.crashes, lease.alone) == (0, 0, False)

    def test_drop_forgets_but_stays_seen(self, dead: Crawl) -> None:
        assert dead.frontier.drop(reason="http_500") == 2
        assert self.shown(dead) == "34"
        assert (dead.counts.dropped, dead.counts.dead) == (2, 2)
        assert dead.add(*pages("1", "2")) == 0
        assert dead.frontier.drop() == 2
        assert dead.frontier.finished() is Finish.RUNNING

    def test_thousands_are_kicked_and_dropped(self, crawl: Crawl) -> None:
        crawl.add(*many(4500))
        while leases := crawl.lease(200):
            crawl.settle(Bury("x"), *leases)
        assert crawl.frontier.kick() == 4500
        while leases := crawl.lease(200):
            crawl.settle(Bury("x"), *leases)
        assert crawl.frontier.drop() == 4500


class TestProducersAndFinish:
    def test_finished_needs_a_closed_producer_and_nothing_pending(self, crawl: Crawl) -> None:
        assert crawl.frontier.finished() is Finish.RUNNING
        producer = crawl.frontier.open_producer("seeds")
        crawl.frontier.add(pages("1", "2"), producer=producer)
        leases = crawl.lease(2)
        crawl.done(leases[0])
        assert crawl.frontier.close_producer(producer)
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.settle(Retry(1.0, "x"), leases[1])
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.clock.wait(1)
        crawl.one("w2")
        crawl.frontier.forfeit("w2")
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.done(crawl.one())
        assert crawl.frontier.finished() is Finish.FINISHED
        assert not crawl.frontier.close_producer(producer)

    def test_dead_letters_do_not_keep_a_crawl_open(self, crawl: Crawl) -> None:
        producer = crawl.frontier.open_producer("seeds")
        crawl.frontier.add(pages("1"), producer=producer)
        crawl.settle(Bury("x"), crawl.one())
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.frontier.close_producer(producer)
        assert crawl.frontier.finished() is Finish.FINISHED
        crawl.frontier.kick()
        assert crawl.frontier.finished() is Finish.RUNNING

    def test_a_lost_producer_makes_it_incomplete_until_it_is_forgiven(self, crawl: Crawl) -> None:
        producer = crawl.frontier.open_producer("seeds")
        crawl.pass_time(70)
        assert crawl.counts.producers_lost == 1
        assert crawl.frontier.finished() is Finish.INCOMPLETE
        with pytest.raises(LeaseLost):
            crawl.frontier.add(pages("1"), producer=producer)
        assert crawl.frontier.renew([producer]) == (producer,)
        again = crawl.frontier.open_producer("seeds")
        assert (crawl.counts.producers_lost, crawl.counts.producers_open) == (0, 1)
        crawl.frontier.close_producer(again)
        assert crawl.frontier.finished() is Finish.FINISHED

    def test_a_renewed_producer_lives(self, crawl: Crawl) -> None:
        producer = crawl.frontier.open_producer("seeds")
        for _ in range(5):
            crawl.pass_time(30)
            assert crawl.frontier.renew([producer]) == ()
        assert crawl.frontier.add(pages("1"), producer=producer).new == 1

    def test_same_name_again_ends_the_older_token(self, crawl: Crawl) -> None:
        old = crawl.frontier.open_producer("seeds")
        new = crawl.frontier.open_producer("seeds")
        with pytest.raises(LeaseLost):
            crawl.frontier.add(pages("1"), producer=old)
        assert not crawl.frontier.close_producer(old)
        assert crawl.frontier.close_producer(new)
        assert crawl.counts.producers_closed == 1

    @pytest.mark.parametrize("token", ["", "producer:", "producer:99", f"{'0' * 32}:1"])
    def test_an_unknown_producer_is_lost(self, crawl: Crawl, token: str) -> None:
        with pytest.raises(LeaseLost):
            crawl.frontier.add(pages("1"), producer=token)
        assert not crawl.frontier.close_producer(token)

    def test_a_full_frontier_makes_producers_wait_but_not_links(self, open_crawl: Open) -> None:
        crawl = open_crawl(pending_max=2)
        producer = crawl.frontier.open_producer("seeds")
        assert crawl.frontier.add(pages("1", "2", "3"), producer=producer).new == 3
        assert crawl.frontier.add(pages("4"), producer=producer) == Added(full=True)
        assert crawl.add(*pages("5")) == 1
        crawl.lease(3)
        assert crawl.frontier.add(pages("4"), producer=producer) == Added(new=1)


class TestLimits:
    def test_pages_max_counts_pages_and_leases(self, open_crawl: Open) -> None:
        crawl = open_crawl(pages_max=3)
        crawl.add(*many(10))
        leases = crawl.lease(10)
        assert len(leases) == 3
        assert crawl.ask(5, "w2").leases == ()
        crawl.done(leases[0])
        crawl.settle(Done("redirect"), leases[1])
        assert crawl.frontier.finished() is Finish.RUNNING
        (more,) = crawl.lease(10)
        crawl.done(leases[2], more)
        assert crawl.frontier.finished() is Finish.LIMIT
        assert crawl.ask(5).leases == ()

    def test_bytes_max(self, open_crawl: Open) -> None:
        crawl = open_crawl(bytes_max=100)
        crawl.add(*many(10))
        crawl.settle(Done(bytes=99), crawl.one())
        crawl.settle(Done(bytes=1), crawl.one())
        assert crawl.lease(5) == []
        assert crawl.frontier.finished() is Finish.LIMIT

    def test_a_crawl_that_ends_at_its_limit_is_finished(self, open_crawl: Open) -> None:
        crawl = open_crawl(pages_max=1)
        producer = crawl.frontier.open_producer("seeds")
        crawl.frontier.add(pages("1"), producer=producer)
        crawl.frontier.close_producer(producer)
        crawl.done(crawl.one())
        assert crawl.frontier.finished() is Finish.FINISHED


class TestRecord:
    def test_notes_change_and_identity_stays(self, crawl: Crawl) -> None:
        before = crawl.frontier.record()
        after = crawl.frontier.update_record(spider="m:S", hosts=("a.test",), outputs={"jsonl": "x"})
        assert (after.spider, after.hosts, after.outputs) == ("m:S", ("a.test",), {"jsonl": "x"})
        assert (after.name, after.canonical, after.created_ms) == (before.name, before.canonical, START_MS)
        assert crawl.frontier.record() == after

    def test_while_paused_nothing_is_given(self, crawl: Crawl) -> None:
        crawl.add(*pages("1", "2"))
        lease = crawl.one()
        assert crawl.frontier.update_record(paused=True).paused
        assert crawl.ask(5, "w2").leases == ()
        assert crawl.done(lease) == ()
        crawl.frontier.update_record(paused=False)
        assert len(crawl.lease(5, "w2")) == 1

    def test_clear_forgets_all_but_the_record(self, crawl: Crawl) -> None:
        crawl.frontier.update_record(spider="m:S")
        crawl.add(*pages("1", "2"))
        crawl.settle(Bury("x"), crawl.one())
        crawl.one()
        crawl.frontier.open_producer("seeds")
        crawl.frontier.clear()
        assert (crawl.counts.added, crawl.counts.hosts, crawl.counts.producers_open) == (0, 0, 0)
        assert crawl.frontier.dead() == crawl.frontier.workers() == crawl.frontier.hosts() == ()
        assert crawl.frontier.record().spider == "m:S"
        assert crawl.add(*pages("1", "2")) == 2

    def test_workers_are_listed(self, crawl: Crawl) -> None:
        crawl.add(*many(5))
        crawl.done(*crawl.lease(2, "w2"))
        crawl.lease(3, "w1")
        rows = crawl.frontier.workers()
        assert [(row.name, row.leased, row.pages, row.seen_ms) for row in rows] == [
            ("w1", 3, 0, START_MS),
            ("w2", 0, 2, START_MS),
        ]
        crawl.clock.wait(10)
        crawl.ask(1, "w2")
        assert crawl.frontier.workers()[1].seen_ms == START_MS + 10_000


class TestNextDue:
    def test_none_when_time_alone_changes_nothing(self, crawl: Crawl) -> None:
        assert crawl.ask().next_due_s is None
        crawl.add(*pages("1"))
        assert crawl.ask(5).next_due_s == 60.0, "the lease's end"

    def test_at_once_when_more_is_due(self, crawl: Crawl) -> None:
        crawl.add(*many(5))
        assert crawl.ask(2).next_due_s == 0.0

    def test_the_earliest_host(self, crawl: Crawl) -> None:
        crawl.add(*pages("1"), *pages("1", host="b.test"))
        crawl.frontier.set_host("a.test", pause_s=9)
        crawl.frontier.set_host("b.test", pause_s=4)
        assert crawl.ask().next_due_s == 4.0
        crawl.clock.wait(4)
        assert crawl.one().host == "b.test"


def test_a_lease_says_where_it_belongs(crawl: Crawl) -> None:
    crawl.add(*pages("1", host="a.test:81"))
    lease = crawl.one()
    assert isinstance(lease, Lease)
    assert lease.host == "a.test:81"
    assert lease.token.count(":") == 1
