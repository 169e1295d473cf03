"""The rules of `crawler.frontier`, over every adapter: admission, order, tokens, outcomes. Numbers are the port's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.frontier import LEASE_MAX
from crawler.model import REQUEST_BYTES_MAX, Added, Bury, Done, Lease, Request, Retry, Settlement
from tests.contract.frontiers import RULES, START_MS, Crawl, many, name, names, pages, request_id

Open = Callable[..., Crawl]


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

    def test_so_does_a_long_one_and_it_says_when_more_is_due(self, crawl: Crawl) -> None:
        crawl.add(*many(LEASE_MAX + 50))
        id = request_id()
        first = crawl.frontier.lease(LEASE_MAX + 1, worker="w1", request_id=id)
        assert names(first.leases) == [str(number) for number in range(LEASE_MAX)]
        assert first.next_due_s == 0.0
        again = crawl.frontier.lease(LEASE_MAX + 1, worker="w1", request_id=id)
        assert again.leases == first.leases
        crawl.done(*first.leases[::2])
        assert crawl.frontier.lease(LEASE_MAX, worker="w1", request_id=id).leases == first.leases[1::2]
        rest = crawl.ask(LEASE_MAX)
        assert len(rest.leases) == 50
        assert rest.next_due_s == RULES.lease_s, "when what is leased would lapse"

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
