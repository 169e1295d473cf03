"""The exchange port's rules, over every adapter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import SettingsError
from crawler.exchange import Exchange
from crawler.frontier import REAP_MAX
from crawler.model import Bury, Done, Queue, Retry
from crawler.view import QueueCounts
from tests.contract.exchanges import ADAPTERS, Clock, Make, end, keep_asking, log, message, request_id, take


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(ADAPTERS))
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Any]:
    """Opens exchanges of one adapter; closes them afterwards."""
    adapter: Make = ADAPTERS[request.param]

    def open_one(*queues: Queue, **options: Any) -> Exchange:
        exchange = stack.enter_context(adapter(tmp_path, clock=clock, **options))
        exchange.declare(queues or (Queue("a"), Queue("b"), Queue("history"), Queue("idle", bind=())))
        return exchange

    with ExitStack() as stack:
        yield open_one


@pytest.fixture
def exchange(make: Any) -> Exchange:
    return make()  # type: ignore[no-any-return]


def tokens_of(exchange: Exchange, queue: str = "a", count: int = 100, consumer: str = "c1") -> list[str]:
    return [one.token for one in exchange.lease(queue, count, consumer=consumer, request_id=request_id())]


def kill(exchange: Exchange, consumer: str = "c1", queue: str = "a") -> list[str]:
    """The consumer takes what it can get and dies."""
    ids = take(exchange, queue, consumer=consumer)
    assert exchange.forfeit(consumer) == len(ids)
    return ids


class TestRouting:
    def test_every_bound_queue_gets_its_own_copy(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        assert take(exchange, "a") == ["1", "2"]
        assert take(exchange, "b", consumer="c2") == ["1", "2"]
        assert take(exchange, "history") == []

    def test_log_goes_to_history_alone(self, exchange: Exchange) -> None:
        exchange.publish([log("l"), message("1")])
        assert take(exchange, "history") == ["l"]
        assert take(exchange, "a") == ["1"]

    @pytest.mark.parametrize(
        ("type", "expected"),
        [
            ("fanout", {"books": ["1", "2", "3"], "shop": ["1", "2", "3"], "history": ["4"]}),
            ("direct", {"books": ["1"], "shop": [], "history": ["4"]}),
            ("topic", {"books": ["1"], "shop": ["1", "2"], "history": ["4"]}),
        ],
    )
    def test_types(self, make: Any, type: str, expected: dict[str, list[str]]) -> None:
        exchange = make(Queue("books", ("shop.book",)), Queue("shop", ("shop.*",)), Queue("history"), type=type)
        exchange.publish([message("1", "shop.book"), message("2", "shop.toy"), message("3", "page"), log("4")])
        assert {name: take(exchange, name) for name in expected} == expected

    def test_a_message_for_nobody_is_no_error(self, make: Any) -> None:
        exchange = make(Queue("books", ("book",)), type="direct")
        exchange.publish([message("1", "toy")])
        assert exchange.counts()["books"] == QueueCounts()

    def test_a_changed_bind_counts_from_now_on(self, make: Any) -> None:
        exchange = make(Queue("books", ("book",)), type="direct")
        exchange.publish([message("1", "book")])
        exchange.declare([Queue("books", ("toy",))])
        exchange.publish([message("2", "book"), message("3", "toy")])
        assert take(exchange, "books") == ["1", "3"]

    def test_declaring_again_keeps_what_is_queued(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        exchange.declare([Queue("a"), Queue("b")])
        assert take(exchange) == ["1"]

    def test_a_queue_gets_what_is_published_after_it_was_declared(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        exchange.declare([Queue("late")])
        exchange.publish([message("2")])
        assert take(exchange, "late") == ["2"]

    def test_an_undeclared_queue_is_refused(self, exchange: Exchange) -> None:
        with pytest.raises(SettingsError, match="nowhere"):
            take(exchange, "nowhere")

    def test_nothing_to_publish(self, exchange: Exchange) -> None:
        exchange.publish([])
        assert take(exchange) == []


class TestPublish:
    def test_a_message_comes_as_it_was_published(self, exchange: Exchange) -> None:
        sent = message("1", text="żółw\n\x00 — 10 € ")
        exchange.publish([sent])
        (got,) = exchange.lease("a", 1, consumer="c1", request_id=request_id())
        assert got.message == sent
        assert got.message.records[0].fields()["text"] == "żółw\n\x00 — 10 € "

    def test_an_id_that_is_in_the_queue_is_not_queued_again(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("1", text="other")])
        exchange.publish([message("1")])
        tokens = tokens_of(exchange)
        exchange.publish([message("1")])  # leased
        assert take(exchange, consumer="c2") == []
        end(exchange, tokens, Retry(10, "x"))
        exchange.publish([message("1")])  # delayed
        assert take(exchange) == []

    def test_an_id_that_was_buried_or_is_suspect_is_not_queued_again(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        end(exchange, tokens_of(exchange, count=1), Bury("bad"))
        kill(exchange)
        exchange.publish([message("1"), message("2")])
        counts = exchange.counts()["a"]
        assert (counts.ready, counts.suspects, counts.dead) == (0, 1, 1)

    def test_an_id_that_left_the_queue_is_queued_again(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        end(exchange, tokens_of(exchange))
        exchange.publish([message("1")])
        assert take(exchange) == ["1"]
        assert take(exchange, "b", consumer="c2") == ["1"]
        assert take(exchange, "b", consumer="c2") == []

    def test_oldest_first(self, exchange: Exchange) -> None:
        for start in range(0, 30, 10):
            exchange.publish([message(f"{number:02}") for number in range(start, start + 10)])
        assert [id for _ in range(4) for id in take(exchange, count=8)] == [f"{number:02}" for number in range(30)]

    def test_what_one_queue_has_ended_the_other_still_has(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        end(exchange, tokens_of(exchange, "a"))
        assert take(exchange, "a") == []
        assert take(exchange, "b") == ["1", "2"]


class TestLease:
    def test_nothing_there(self, exchange: Exchange) -> None:
        assert take(exchange) == []

    def test_count(self, exchange: Exchange) -> None:
        exchange.publish([message(str(number)) for number in range(5)])
        assert take(exchange, count=0) == []
        assert take(exchange, count=2) == ["0", "1"]
        assert take(exchange, count=100, consumer="c2") == ["2", "3", "4"]

    def test_a_leased_message_is_nobody_elses(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        assert take(exchange, consumer="c1") == ["1"]
        assert take(exchange, consumer="c2") == []

    def test_repeating_a_request_id_gives_what_is_still_current(self, exchange: Exchange) -> None:
        exchange.publish([message(str(number)) for number in range(6)])
        id = request_id()
        first = exchange.lease("a", 3, consumer="c1", request_id=id)
        assert exchange.lease("a", 3, consumer="c1", request_id=id) == first
        end(exchange, [first[1].token])
        assert exchange.lease("a", 3, consumer="c1", request_id=id) == (first[0], first[2])
        end(exchange, [first[0].token, first[2].token])
        assert exchange.lease("a", 3, consumer="c1", request_id=id) == ()
        assert take(exchange) == ["3", "4", "5"]

    def test_tokens_carry_the_request_id(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        id = request_id()
        tokens = [one.token for one in exchange.lease("a", 2, consumer="c1", request_id=id)]
        assert len(set(tokens)) == 2
        assert all(token.startswith(f"{id}:") for token in tokens)


class TestSettle:
    def test_done(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        assert end(exchange, tokens_of(exchange)) == ()
        assert exchange.counts()["a"] == QueueCounts(done=1)

    def test_stale_tokens_change_nothing(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        (token,) = tokens_of(exchange)
        assert end(exchange, [token]) == ()
        strange = ["", "x", "x:", ":0", "x:0", "x:-1", "x:²", token]
        for outcome in (Done(), Retry(0, "x"), Bury("x")):
            assert end(exchange, strange, outcome) == tuple(strange)
        assert exchange.counts()["a"] == QueueCounts(done=1)

    def test_the_first_outcome_of_a_token_counts(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        (token,) = tokens_of(exchange)
        assert end(exchange, [token, token]) == (token,)
        assert exchange.counts()["a"].done == 1

    def test_retry_waits_and_counts_an_attempt(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1"), message("2")])
        end(exchange, tokens_of(exchange, count=1), Retry(5, "x"))
        assert exchange.counts()["a"].delayed == 1
        clock.forward(4.999)
        assert take(exchange) == ["2"]
        clock.forward(0.001)
        (again,) = exchange.lease("a", 9, consumer="c1", request_id=request_id())
        assert (again.message.id, again.attempts, again.crashes, again.alone) == ("1", 1, 0, False)

    def test_retry_blamed_on_the_store_is_not_charged(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        end(exchange, tokens_of(exchange), Retry(0, "x", blame="host"))
        (again,) = exchange.lease("a", 9, consumer="c1", request_id=request_id())
        assert again.attempts == 0

    def test_a_retried_message_keeps_its_place(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2"), message("3")])
        end(exchange, tokens_of(exchange, count=1), Retry(0, "x"))
        assert take(exchange) == ["1", "2", "3"]

    def test_one_call_settles_leases_of_several_calls_and_queues(self, exchange: Exchange) -> None:
        exchange.publish([message(str(number)) for number in range(4)])
        tokens = tokens_of(exchange, "a", 2) + tokens_of(exchange, "a", 2) + tokens_of(exchange, "b", 4, "c2")
        assert end(exchange, tokens) == ()
        assert (exchange.counts()["a"].done, exchange.counts()["b"].done) == (4, 4)


class TestRenewAndRelease:
    def test_a_renewed_lease_lives_on_and_another_lapses(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1"), message("2")])
        first, second = tokens_of(exchange)
        for _ in range(6):
            clock.forward(15)
            assert exchange.renew([first]) == ()
            take(exchange, consumer="c2") if _ < 3 else None
        assert take(exchange, consumer="c3") == ["2"]
        assert end(exchange, [second]) == (second,)
        assert end(exchange, [first]) == ()

    def test_renewing_what_is_lost(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        (token,) = tokens_of(exchange)
        end(exchange, [token])
        assert exchange.renew([token, "x:0", "x"]) == (token, "x:0", "x")
        assert exchange.renew([]) == ()

    def test_released_goes_back_to_its_place_uncharged(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        tokens = tokens_of(exchange, count=1)
        exchange.release([*tokens, "x:0"])
        assert end(exchange, tokens) == tuple(tokens)
        got = exchange.lease("a", 9, consumer="c2", request_id=request_id())
        assert [(one.message.id, one.attempts, one.crashes, one.alone) for one in got] == [
            ("1", 0, 0, False),
            ("2", 0, 0, False),
        ]

    def test_a_released_suspect_is_still_one(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        kill(exchange)
        exchange.release(tokens_of(exchange, consumer="c2"))
        assert exchange.counts()["a"].suspects == 1
        (again,) = exchange.lease("a", 9, consumer="c2", request_id=request_id())
        assert (again.alone, again.crashes) == (True, 0)


class TestDeath:
    def test_forfeit_makes_suspects_that_come_one_by_one_and_last(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        assert kill(exchange) == ["1", "2"]
        exchange.publish([message("3")])
        fresh = tokens_of(exchange, consumer="c2")
        assert take(exchange, consumer="c2") == []  # its hands are not empty
        end(exchange, fresh)
        for expected in ("1", "2"):
            (suspect,) = exchange.lease("a", 9, consumer="c2", request_id=request_id())
            assert (suspect.message.id, suspect.alone) == (expected, True)
            exchange.publish([message(f"{expected}-more")])
            assert take(exchange, consumer="c2") == []  # it holds one given alone
            end(exchange, [suspect.token])
            end(exchange, tokens_of(exchange, consumer="c2"))
        assert exchange.counts()["a"].done == 5

    def test_only_a_death_alone_is_a_crash(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1"), message("2")])
        kill(exchange)  # held together: nobody is charged
        clock.forward(1)
        for expected in (("1", 0), ("2", 0), ("1", 1), ("2", 1), ("1", 2), ("2", 2)):
            (suspect,) = exchange.lease("a", 9, consumer="c", request_id=request_id())
            assert (suspect.message.id, suspect.crashes) == expected
            clock.forward(1)
            exchange.forfeit("c")
        assert [(letter.message.id, letter.crashes) for letter in exchange.dead()] == [("1", 3), ("2", 3)]

    def test_crashes_max_buries(self, make: Any) -> None:
        exchange = make(Queue("a"), crashes_max=2)
        exchange.publish([message("1")])
        kill(exchange)
        kill(exchange)
        assert exchange.counts()["a"].suspects == 1
        kill(exchange)
        (letter,) = exchange.dead()
        assert (letter.message.id, letter.reason, letter.crashes, letter.queue) == ("1", "crashed", 2, "a")
        assert exchange.counts()["a"] == QueueCounts(dead=1)

    def test_forfeit_is_about_one_consumer_in_all_queues(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        take(exchange, "a", 1, "c1")
        take(exchange, "b", 1, "c1")
        take(exchange, "a", 1, "c2")
        assert exchange.forfeit("c1") == 2
        assert exchange.forfeit("nobody") == 0
        assert exchange.counts()["a"].leased == 1

    def test_a_late_consumer_is_fenced_off(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        tokens = tokens_of(exchange, consumer="late")
        exchange.forfeit("late")
        assert take(exchange, consumer="c2") == ["1"]
        assert end(exchange, tokens) == tuple(tokens)
        assert exchange.renew(tokens) == tuple(tokens)
        exchange.release(tokens)
        assert exchange.counts()["a"].leased == 1

    def test_a_retried_suspect_is_none_any_more(self, exchange: Exchange) -> None:
        exchange.publish([message("1")])
        kill(exchange)
        end(exchange, tokens_of(exchange), Retry(0, "x"))
        (again,) = exchange.lease("a", 9, consumer="c1", request_id=request_id())
        assert (again.alone, again.attempts) == (False, 1)

    def test_a_lease_lapses_by_time(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        tokens = tokens_of(exchange)
        keep_asking(exchange, clock, 59.999)
        assert take(exchange, consumer="c2") == []
        clock.forward(0.001)
        assert take(exchange, consumer="c2") == ["1"]
        assert end(exchange, tokens) == tuple(tokens)

    def test_lapsing_is_bounded(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message(f"{number:03}") for number in range(REAP_MAX + 50)])
        take(exchange, count=REAP_MAX + 50)
        keep_asking(exchange, clock, 60)
        assert len(take(exchange, consumer="c2")) == 1
        counts = exchange.counts()["a"]
        assert (counts.leased, counts.suspects) == (51, REAP_MAX - 1)

    @pytest.mark.parametrize("jump_s", [31.0, 3_600.0, -3_600.0])
    def test_after_a_silence_no_lease_lapses_for_a_full_lease(
        self, exchange: Exchange, clock: Clock, jump_s: float
    ) -> None:
        exchange.publish([message("1")])
        tokens = tokens_of(exchange)
        clock.forward(jump_s)
        assert take(exchange, consumer="c2") == []
        keep_asking(exchange, clock, 59.999)
        assert take(exchange, consumer="c2") == []
        keep_asking(exchange, clock, 0.001)
        assert take(exchange, consumer="c2") == ["1"]
        assert end(exchange, tokens) == tuple(tokens)

    def test_forfeit_does_not_wait_for_a_silence_to_be_over(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        take(exchange)
        clock.forward(3_600)
        exchange.forfeit("c1")
        assert take(exchange, consumer="c2") == ["1"]


class TestOverdueSuspects:
    def test_empty_hands_get_an_overdue_suspect_first(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        kill(exchange)
        exchange.publish([message("2"), message("3")])
        keep_asking(exchange, clock, 59.999)
        end(exchange, tokens_of(exchange, count=1, consumer="c2"))
        keep_asking(exchange, clock, 0.001)
        assert take(exchange, consumer="c2") == ["1"]

    def test_one_consumer_at_a_time_empties_its_hands(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        kill(exchange, "dead")
        exchange.publish([message(str(number)) for number in range(2, 9)])
        first = tokens_of(exchange, count=1, consumer="c1")
        second = tokens_of(exchange, count=1, consumer="c2")
        for _ in range(4):
            clock.forward(15)
            exchange.renew(first + second)
        assert take(exchange, count=1, consumer="c1") == []  # its turn
        assert take(exchange, count=1, consumer="c2") == ["4"]
        assert take(exchange, count=1, consumer="c3") == ["5"]
        end(exchange, first)
        assert take(exchange, count=1, consumer="c1") == ["1"]

    def test_a_turn_ends_with_its_consumer(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        kill(exchange, "dead")
        exchange.publish([message("2"), message("3"), message("4")])
        held = tokens_of(exchange, count=1, consumer="c1")
        for _ in range(4):
            clock.forward(15)
            exchange.renew(held)
        assert take(exchange, count=1, consumer="c1") == []
        exchange.forfeit("c1")
        assert take(exchange, count=1, consumer="c2") == ["1"]

    def test_a_turn_is_over_after_a_lease(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1")])
        kill(exchange, "dead")
        exchange.publish([message("2"), message("3"), message("4")])
        held = tokens_of(exchange, count=1, consumer="c1")
        other = tokens_of(exchange, count=1, consumer="c2")
        for _ in range(4):
            clock.forward(15)
            exchange.renew(held + other)
        for _ in range(4):
            assert take(exchange, count=1, consumer="c1") == []  # asking does not prolong it
            clock.forward(15)
            exchange.renew(held + other)
        assert take(exchange, count=1, consumer="c2") == []  # now it is the other's turn
        assert take(exchange, count=1, consumer="c1") == ["4"]


class TestPeople:
    def test_dead_items_keep_why_and_what(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message("1"), message("2"), message("3")])
        one, two, three = tokens_of(exchange)
        end(exchange, [three], Bury("bad", "ValueError: no"))
        end(exchange, [one], Bury("worse"))
        end(exchange, [two])
        first, second = exchange.dead()
        assert (first.message, first.reason, first.detail) == (message("3"), "bad", "ValueError: no")
        assert (first.queue, first.attempts, first.died_ms) == ("a", 0, clock())
        assert second.reason == "worse"

    def test_dead_filters_and_pages(self, exchange: Exchange) -> None:
        exchange.publish([message(str(number)) for number in range(5)])
        end(exchange, tokens_of(exchange, "a"), Bury("x"))
        end(exchange, tokens_of(exchange, "b", 2), Bury("y"))
        assert [letter.message.id for letter in exchange.dead(queue="a", limit=2, after=1)] == ["1", "2"]
        assert [(letter.queue, letter.message.id) for letter in exchange.dead(reason="y")] == [("b", "0"), ("b", "1")]
        assert exchange.dead(queue="a", reason="y") == ()
        assert len(exchange.dead(limit=6)) == 6

    def test_kick_brings_back_uncharged_to_the_old_place(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2"), message("3")])
        end(exchange, tokens_of(exchange, count=1), Retry(0, "x"))
        end(exchange, tokens_of(exchange, count=2), Bury("x"))
        assert exchange.kick(queue="b") == 0
        assert exchange.kick(reason="y") == 0
        assert exchange.kick(queue="a", reason="x", id="2") == 1
        assert exchange.kick() == 1
        got = exchange.lease("a", 9, consumer="c1", request_id=request_id())
        assert [(one.message.id, one.attempts) for one in got] == [("1", 0), ("2", 0), ("3", 0)]
        assert exchange.counts()["a"].dead == 0

    def test_drop_forgets(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2")])
        end(exchange, tokens_of(exchange), Bury("x"))
        assert exchange.drop(id="1") == 1
        assert [letter.message.id for letter in exchange.dead()] == ["2"]
        assert exchange.drop() == 1
        assert exchange.counts()["a"] == QueueCounts()
        assert take(exchange, "b") == ["1", "2"]
        exchange.publish([message("1")])
        assert take(exchange) == ["1"]

    def test_counts(self, exchange: Exchange, clock: Clock) -> None:
        exchange.publish([message(str(number)) for number in range(7)])
        clock.forward(3)
        tokens = tokens_of(exchange, count=3)
        end(exchange, tokens[:1])
        end(exchange, tokens[1:2], Retry(60, "x"))
        end(exchange, tokens[2:], Bury("x"))
        take(exchange, count=1, consumer="c2")
        exchange.forfeit("c2")
        take(exchange, count=1)
        counts = exchange.counts()
        assert set(counts) == {"a", "b", "history", "idle"}
        assert counts["a"] == QueueCounts(ready=2, delayed=1, leased=1, suspects=1, dead=1, done=1, oldest_ready_s=3.0)
        assert counts["history"] == QueueCounts()
        for name in ("b", "idle"):
            assert counts[name].oldest_ready_s in (3.0, 0.0)  # a broker cannot tell it of what nobody consumes
            assert msgspec.structs.replace(counts[name], oldest_ready_s=0.0) == QueueCounts(ready=7)

    def test_clear_forgets_all_but_the_queues(self, exchange: Exchange) -> None:
        exchange.publish([message("1"), message("2"), message("3")])
        tokens = tokens_of(exchange, count=2)
        end(exchange, tokens[:1], Bury("x"))
        exchange.clear()
        assert set(exchange.counts().values()) == {QueueCounts()}
        assert end(exchange, tokens) == tuple(tokens)
        exchange.publish([message("1")])
        assert take(exchange) == ["1"]


def test_threads_share_a_queue_and_each_message_comes_once(exchange: Exchange) -> None:
    total, got, failed = 400, [], []
    lock = threading.Lock()

    def publish(start: int) -> None:
        for number in range(start, total, 2):
            exchange.publish([message(str(number))])

    def consume(name: str) -> None:
        try:
            while len(got) < total:
                leased = exchange.lease("a", 7, consumer=name, request_id=request_id())
                with lock:
                    got.extend(one.message.id for one in leased)
                assert end(exchange, [one.token for one in leased]) == ()
        except Exception as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=publish, args=(start,)) for start in (0, 1)]
    threads += [threading.Thread(target=consume, args=(name,)) for name in ("c1", "c2", "c3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert sorted(got, key=int) == [str(number) for number in range(total)]
