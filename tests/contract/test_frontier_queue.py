"""The classic queue as uses of the verbs: bounded put and get with time-out, FIFO, LIFO, priority, task_done, join."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from crawler.frontier import Frontier
from crawler.model import Done, Lease, Request, Settlement
from crawler.view import Finish
from tests.contract.frontiers import Crawl, name, pages, request_id

HANG_S = 30.0
POLL_S = 0.005


class Queue:
    """`queue.Queue` over a frontier. Times out by the thread's clock."""

    def __init__(self, frontier: Frontier) -> None:
        self.frontier = frontier
        self.producer = frontier.open_producer("queue")

    def put(self, request: Request, timeout_s: float = HANG_S) -> bool:
        return self._until(lambda: not self.frontier.add([request], producer=self.producer).full, timeout_s)

    def get(self, worker: str, timeout_s: float = HANG_S) -> Lease | None:
        found: list[Lease] = []

        def ask() -> bool:
            found.extend(self.frontier.lease(1, worker=worker, request_id=request_id()).leases)
            return bool(found)

        return found[0] if self._until(ask, timeout_s) else None

    def task_done(self, lease: Lease) -> None:
        assert self.frontier.settle([Settlement(lease.token, Done())]) == ()

    def join(self, timeout_s: float = HANG_S) -> bool:
        self.frontier.close_producer(self.producer)
        return self._until(lambda: self.frontier.finished() is Finish.FINISHED, timeout_s)

    def _until(self, happened: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not happened():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True


Open = Callable[..., Crawl]


@pytest.mark.parametrize(
    ("order", "priorities", "expected"),
    [("fifo", (0, 0, 0), "123"), ("lifo", (0, 0, 0), "321"), ("fifo", (1, 9, 5), "231")],
)
def test_order(open_crawl: Open, order: str, priorities: tuple[int, ...], expected: str) -> None:
    queue = Queue(open_crawl(order=order).frontier)
    for number, priority in enumerate(priorities, 1):
        (request,) = pages(str(number), priority=priority)
        assert queue.put(request)
    got = [queue.get("w") for _ in priorities]
    assert "".join(name(lease) for lease in got if lease) == expected


def test_get_times_out_on_an_empty_queue(crawl: Crawl) -> None:
    assert Queue(crawl.frontier).get("w", timeout_s=0.02) is None


def test_put_times_out_on_a_full_queue_and_goes_on_when_there_is_room(open_crawl: Open) -> None:
    queue = Queue(open_crawl(pending_max=2).frontier)
    first, second, third = pages("1", "2", "3")
    assert queue.put(first)
    assert queue.put(second)
    assert not queue.put(third, timeout_s=0.02)
    lease = queue.get("w")
    assert lease is not None
    assert queue.put(third)


def test_join_waits_for_task_done(crawl: Crawl) -> None:
    queue = Queue(crawl.frontier)
    queue.put(pages("1")[0])
    lease = queue.get("w")
    assert lease is not None
    assert not queue.join(timeout_s=0.02)
    queue.task_done(lease)
    assert queue.join()


def test_producers_and_consumers_in_threads(open_crawl: Open) -> None:
    queue = Queue(open_crawl(pending_max=5).frontier)
    got: list[str] = []

    def consume(worker: str) -> None:
        while lease := queue.get(worker, timeout_s=0.5):
            got.append(name(lease))
            queue.task_done(lease)
            if len(got) == 60:
                return

    consumers = [threading.Thread(target=consume, args=(f"w{number}",)) for number in range(3)]
    for consumer in consumers:
        consumer.start()
    for number in range(60):
        assert queue.put(pages(str(number))[0])
    assert queue.join()
    for consumer in consumers:
        consumer.join(HANG_S)
    assert sorted(got, key=int) == [str(number) for number in range(60)]
