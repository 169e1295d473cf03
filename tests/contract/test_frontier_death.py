"""The frontier's rules for leases that end without an outcome: lapse, forfeit, suspects, release."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.frontier import REAP_MAX
from crawler.model import Bury, Done, Retry, Settlement
from tests.contract.frontiers import START_MS, Crawl, make_suspects, many, name, names, pages

Open = Callable[..., Crawl]
HOST_TROUBLE = Retry(0.0, "connect", "host")


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

    @pytest.mark.parametrize("verb", ["settle", "fetched", "release"])
    def test_a_wait_that_begins_before_anybody_saw_it_set_back_is_whole(self, open_crawl: Open, verb: str) -> None:
        crawl = open_crawl(delay_s=10.0)
        crawl.add(*pages("1", "2"), *pages("3", host="b.test"))
        lease, other = crawl.lease(2)
        crawl.clock.wait(-3600)
        if verb == "settle":
            crawl.done(lease)
        elif verb == "release":
            crawl.frontier.release([other.token])
        crawl.frontier.fetched([lease.token])
        crawl.clock.wait(9)
        assert "a.test" not in {one.host for one in crawl.lease(2)}
        crawl.clock.wait(2)
        assert "a.test" in {one.host for one in crawl.lease(2)}


class TestSuspects:
    def test_go_last(self, crawl: Crawl) -> None:
        make_suspects(crawl, *pages("1"))
        crawl.add(*pages("2", "3"))
        assert crawl.drain() == ["2", "3", "1"]

    def test_go_to_empty_hands_only(self, crawl: Crawl) -> None:
        make_suspects(crawl, *pages("1"))
        crawl.add(*pages("2"))
        busy = crawl.one("w1")
        assert crawl.lease(5, "w1") == []
        crawl.done(busy)
        assert crawl.one("w1").alone

    def test_one_at_a_time_and_nothing_beside(self, crawl: Crawl) -> None:
        make_suspects(crawl, *pages("1", "2"))
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
        make_suspects(crawl, *pages("1"))
        crawl.settle(outcome, crawl.one())
        assert crawl.counts.suspects == 0
        crawl.clock.wait(10)
        assert not any(lease.alone for lease in crawl.lease())

    def test_a_suspect_given_back_is_still_one(self, crawl: Crawl) -> None:
        make_suspects(crawl, *pages("1"))
        crawl.frontier.release([crawl.one().token])
        assert (crawl.counts.suspects, crawl.counts.crashes) == (1, 0)
        assert crawl.one("w2").alone

    def test_an_overdue_one_empties_one_workers_hands(self, crawl: Crawl) -> None:
        make_suspects(crawl, *pages("s"))
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
        make_suspects(crawl, *pages("s"))
        crawl.add(*many(20))
        crawl.pass_time(30)
        crawl.lease(2, "w1")
        crawl.pass_time(30)
        assert crawl.lease(2, "w1") == []
        crawl.frontier.forfeit("w1")
        assert name(crawl.one("w2")) == "s"

    def test_while_hands_are_emptied_a_polite_host_waits_for_its_suspect(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        make_suspects(crawl, *pages("s"))
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
        make_suspects(crawl, *pages("1"))
        asked = crawl.ask()
        assert (asked.leases, asked.next_due_s) == ((), 10.001)
        crawl.clock.wait(10.001)
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
