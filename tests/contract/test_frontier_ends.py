"""The frontier's rules for the ends: dead letters, producers and finish, limits, the crawl record."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.error import LeaseLost
from crawler.model import Added, Bury, Done, Retry
from crawler.view import Finish
from tests.contract.frontiers import START_MS, Crawl, make_suspects, many, name, pages

Open = Callable[..., Crawl]


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
        make_suspects(crawl, *pages("1"))
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
        after = crawl.frontier.update_record(named=("127.0.0.1:8000",))
        assert after.named == ("127.0.0.1:8000",)
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
        for shown in (crawl.frontier.dead(), crawl.frontier.workers(), crawl.frontier.hosts()):
            assert shown == ()
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
