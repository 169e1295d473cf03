"""The consumer, with real exchanges and small real pipelines."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import BackendError, Reject, SettingsError, Unavailable
from crawler.exchange.memory import MemoryExchange
from crawler.model import Message, Queue, Record
from crawler.tables import ExchangeTable
from crawler.view import QueueCounts
from pipelines.consumer import Consumer, drained, lock_path
from pipelines.jsonl import JsonLines
from pipelines.writer_lock import WriterLock

ROOT = Path(__file__).parents[2]
QUICK = ExchangeTable(batch_max=8, batch_wait_s=0.01, attempts_max=1)


def message(number: int) -> Message:
    return Message(
        id=f"m{number}",
        kind="page",
        url=f"https://example.com/{number}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="test",
        records=(Record(f"i{number}", msgspec.Raw(b'{"n":%d}' % number)),),
    )


class Sink:
    """Keeps what it is given; raises what `fault` says first."""

    def __init__(self, fault: Callable[[Sequence[Message]], BaseException | None] = lambda messages: None) -> None:
        self.fault = fault
        self.calls: list[list[str]] = []
        self.stored: list[str] = []
        self.closed = 0

    def store(self, messages: Sequence[Message]) -> None:
        ids = [message.id for message in messages]
        self.calls.append(ids)
        if error := self.fault(messages):
            raise error
        self.stored += ids

    def close(self) -> None:
        self.closed += 1


def filled(count: int, **options: Any) -> MemoryExchange:
    exchange = MemoryExchange(**options)
    exchange.declare([Queue("a")])
    exchange.publish([message(number) for number in range(count)])
    return exchange


@contextmanager
def running(consumer: Consumer) -> Iterator[threading.Event]:
    """Stops it at the end; what it raises comes out."""
    stop, failed = threading.Event(), []

    def main() -> None:
        try:
            consumer.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def run(exchange: MemoryExchange, sink: Sink, settings: ExchangeTable = QUICK) -> QueueCounts:
    """Until the queue is drained."""
    with running(Consumer(exchange, "a", lambda: sink, name="c1", settings=settings)):
        wait_for(lambda: drained(exchange, "a"))
    assert sink.closed == 1
    return exchange.counts()["a"]


def test_a_batch_is_bounded_in_bytes_too() -> None:
    sizes = [30, 30, 30, 30, 250, 10, 10, 60, 60]
    exchange, sink = MemoryExchange(), Sink()
    exchange.declare([Queue("a")])
    exchange.publish(
        [msgspec.structs.replace(message(at), records=(), blob=b"x" * size) for at, size in enumerate(sizes)]
    )
    settings = msgspec.structs.replace(QUICK, batch_max=100, batch_bytes_max=100)
    assert run(exchange, sink, settings).done == len(sizes)
    assert sink.stored == [f"m{number}" for number in range(len(sizes))]
    for ids in sink.calls:
        together = [sizes[int(id[1:])] for id in ids]
        assert sum(together[:-1]) <= 100, "one message more at most"
    assert len(sink.calls) < len(sizes), "but no message alone that need not be"


def test_all_is_stored_in_batches_and_in_order() -> None:
    exchange, sink = filled(20), Sink()
    assert run(exchange, sink) == QueueCounts(done=20)
    assert sink.stored == [f"m{number}" for number in range(20)]
    assert [len(call) for call in sink.calls] == [8, 8, 4]


def test_a_batch_that_is_not_full_waits_for_more() -> None:
    exchange, sink = filled(1), Sink()
    patient = ExchangeTable(batch_max=8, batch_wait_s=0.5)
    with running(Consumer(exchange, "a", lambda: sink, name="c1", settings=patient)):
        wait_for(lambda: exchange.counts()["a"].leased == 1)
        exchange.publish([message(1)])
        wait_for(lambda: drained(exchange, "a"))
    assert sink.calls == [["m0", "m1"]]


def test_rejected_messages_are_buried_and_the_rest_stored() -> None:
    def fault(messages: Sequence[Message]) -> BaseException | None:
        bad = {one.id for one in messages} & {"m1", "m5"}
        return Reject("too_strange", frozenset(bad)) if bad else None

    exchange, sink = filled(8), Sink(fault)
    assert run(exchange, sink) == QueueCounts(done=6, dead=2)
    assert [(letter.message.id, letter.reason) for letter in exchange.dead()] == [
        ("m1", "too_strange"),
        ("m5", "too_strange"),
    ]
    assert len(sink.calls) == 2


def test_a_reject_without_ids_is_about_the_batch() -> None:
    exchange = filled(3)
    assert run(exchange, Sink(lambda messages: Reject("no"))) == QueueCounts(dead=3)


def test_a_reject_that_names_none_of_the_batch_ends_too() -> None:
    exchange = filled(3)
    assert run(exchange, Sink(lambda messages: Reject("no", frozenset({"other"})))) == QueueCounts(dead=3)


def test_a_failing_batch_is_halved_until_the_bad_message_is_alone() -> None:
    def fault(messages: Sequence[Message]) -> BaseException | None:
        return ValueError("cannot take m5") if any(one.id == "m5" for one in messages) else None

    exchange, sink = filled(8), Sink(fault)
    assert run(exchange, sink) == QueueCounts(done=7, dead=1)
    assert sink.stored == [f"m{number}" for number in range(8) if number != 5]
    (letter,) = exchange.dead()
    assert (letter.message.id, letter.reason) == ("m5", "store_error")
    assert letter.detail.startswith("ValueError: cannot take m5\n")
    assert "in store" in letter.detail
    assert [len(call) for call in sink.calls] == [8, 4, 4, 2, 1, 1, 2]


def test_a_message_that_fails_alone_is_tried_attempts_max_times() -> None:
    now = [1_700_000_000_000]
    exchange, sink = filled(1, clock=lambda: now[0]), Sink(lambda messages: OSError("odd"))
    with running(
        Consumer(exchange, "a", lambda: sink, name="c1", settings=ExchangeTable(attempts_max=3, batch_wait_s=0.01))
    ):
        for attempt, wait_ms in ((1, 1_000), (2, 2_000)):
            wait_for(lambda: len(sink.calls) == attempt and exchange.counts()["a"].delayed == 1)  # noqa: B023
            now[0] += wait_ms
        wait_for(lambda: exchange.counts()["a"].dead == 1)
    assert [(letter.attempts, letter.reason) for letter in exchange.dead()] == [(2, "store_error")]


def test_an_unavailable_store_is_waited_for_and_nothing_is_charged() -> None:
    away = iter([True, True, False])
    exchange, sink = filled(5), Sink(lambda messages: Unavailable("full") if next(away, False) else None)
    assert run(exchange, sink) == QueueCounts(done=5)
    assert sink.calls == [[f"m{number}" for number in range(5)]] * 3


def test_stop_while_the_store_is_away_gives_the_messages_back_uncharged() -> None:
    exchange, sink = filled(5), Sink(lambda messages: Unavailable("full"))
    with running(Consumer(exchange, "a", lambda: sink, name="c1", settings=QUICK)):
        wait_for(lambda: bool(sink.calls))
    counts = exchange.counts()["a"]
    assert counts == QueueCounts(ready=5, oldest_ready_s=counts.oldest_ready_s)
    assert [one.attempts for one in exchange.lease("a", 9, consumer="c2", request_id="0" * 32)] == [0] * 5


def test_stop_finishes_the_batch_in_hand() -> None:
    began, finish = threading.Event(), threading.Event()

    def slow(messages: Sequence[Message]) -> None:
        began.set()
        finish.wait(30)

    exchange, sink = filled(20), Sink(slow)
    with running(Consumer(exchange, "a", lambda: sink, name="c1", settings=QUICK)) as stop:
        began.wait(30)
        stop.set()
        finish.set()
    counts = exchange.counts()["a"]
    assert (counts.done, counts.leased, counts.ready) == (8, 0, 12)


def test_leases_are_renewed_while_a_slow_store_works() -> None:
    """The lease lasts 0.3 s, the store takes 1.2 s, and another consumer asks all the time."""
    exchange, sink = filled(3, lease_s=0.3), Sink(lambda messages: time.sleep(1.2))
    table = ExchangeTable(lease_s=0.3, batch_wait_s=0.01)
    with running(Consumer(exchange, "a", lambda: sink, name="c1", settings=table)):
        wait_for(lambda: bool(sink.calls))
        while not sink.stored:
            assert exchange.lease("a", 9, consumer="thief", request_id=f"{time.monotonic_ns():032x}") == ()
            time.sleep(0.01)
    assert exchange.counts()["a"] == QueueCounts(done=3)


def test_a_suspect_is_stored_alone() -> None:
    exchange, sink = filled(3), Sink()
    exchange.lease("a", 9, consumer="dead", request_id="0" * 32)
    exchange.forfeit("dead")
    assert run(exchange, sink) == QueueCounts(done=3)
    assert sink.calls == [["m0"], ["m1"], ["m2"]]


class Flaky:
    """An exchange behind a bad line: four calls of ten fail, before they did anything or after."""

    def __init__(self, exchange: MemoryExchange) -> None:
        self.exchange = exchange
        self.dice = random.Random(3)
        self.faults = 0

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.exchange, name)

        def call(*args: Any, **options: Any) -> Any:
            before, after = self.dice.random() < 0.2, self.dice.random() < 0.2
            self.faults += before or after
            if before:
                raise BackendError("away")
            result = verb(*args, **options)
            if after:
                raise BackendError("gone before it could answer")
            return result

        return call


def test_an_exchange_that_comes_and_goes_loses_nothing() -> None:
    exchange, sink = filled(60), Sink()
    flaky: Any = Flaky(exchange)
    with running(Consumer(flaky, "a", lambda: sink, name="c1", settings=QUICK)):
        wait_for(lambda: drained(exchange, "a"))
    assert flaky.faults > 5
    assert exchange.counts()["a"] == QueueCounts(done=60)
    assert sink.stored == [f"m{number}" for number in range(60)]


def test_a_pipeline_that_cannot_be_made_says_so() -> None:
    def make() -> Sink:
        raise SettingsError("no such place")

    consumer = Consumer(filled(1), "a", make, name="c1", settings=QUICK)
    with pytest.raises(SettingsError, match="no such place"), running(consumer):
        time.sleep(0.05)


def test_a_pipeline_whose_store_is_away_at_first_is_made_later() -> None:
    exchange, sink, tries = filled(2), Sink(), iter([1, 2])

    def make() -> Sink:
        if next(tries, None):
            raise Unavailable("database down")
        return sink

    with running(Consumer(exchange, "a", make, name="c1", settings=QUICK)):
        wait_for(lambda: drained(exchange, "a"))
    assert len(sink.stored) == 2


@pytest.mark.parametrize("locked", [True, False], ids=["lock", "the store's own guard"])
def test_a_second_copy_stands_by_until_the_writer_is_gone(tmp_path: Path, locked: bool) -> None:
    """The first writer is another process, killed as hard as can be."""
    path = tmp_path / "out.jsonl"
    code = (
        "import sys, time; from pipelines.jsonl import JsonLines; from pipelines.writer_lock import WriterLock\n"
        "lock = WriterLock(sys.argv[1]); assert lock.take()\n"
        "store = JsonLines(path=sys.argv[1]); print('ready', flush=True); time.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        exchange = filled(3)
        lock = lock_path(JsonLines, {"path": str(path)}) if locked else None
        consumer = Consumer(exchange, "a", lambda: JsonLines(path=str(path)), name="c2", settings=QUICK, lock=lock)
        with running(consumer):
            time.sleep(0.4)
            assert exchange.counts()["a"].ready == 3  # it leases nothing while it stands by
            first.kill()
            wait_for(lambda: drained(exchange, "a"))
    finally:
        first.kill()
        first.communicate()
    assert len(path.read_bytes().splitlines()) == 3
    assert not Path(f"{path}.lock").exists() or not locked


def test_a_copy_that_stands_by_can_be_stopped(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "x")
    assert lock.take()
    sink = Sink()
    with running(Consumer(filled(1), "a", lambda: sink, name="c2", settings=QUICK, lock=tmp_path / "x")):
        time.sleep(0.05)
    assert not sink.calls
    lock.give_back()
    assert WriterLock(tmp_path / "x").take()


def test_which_pipelines_have_a_lock(tmp_path: Path) -> None:
    assert lock_path(JsonLines, {"path": "out.jsonl"}) == Path("out.jsonl")
    assert lock_path(JsonLines, {}) is None
    assert lock_path(Sink, {"path": "out"}) is None
