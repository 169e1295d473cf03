"""The exchange adapters against the plain reference: random verbs, crashes, clock jumps, stale tokens, repeats.

Two SqliteExchange objects work on one file, as two processes do, each with memories of its own that may be out of date.
Of RabbitMQ it is one object: what another process holds is known to that process alone. Whatever happens, both
implementations must answer the same, and no message may be lost or be in two places.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crawler.exchange.memory import MemoryExchange
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.sqlite import SqliteExchange
from crawler.model import Bury, Done, Message, Outcome, Queue, Retry, Settlement
from crawler.tables import RabbitTable
from crawler.view import QueueCounts
from tests.contract.exchanges import Clock, log, message
from tests.contract.rabbit_exchange import open_rabbit

QUEUES = (Queue("a"), Queue("b", ("page", "#.x")), Queue("history"))
NAMES = ("a", "b", "history")
CONSUMERS = ("c1", "c2", "c3")
OPTIONS: dict[str, Any] = {"lease_s": 60.0, "crashes_max": 2, "suspect_wait_s": 30.0}

ids = st.integers(0, 11).map(str)
outcomes = st.one_of(
    st.just(Done()),
    st.just(Done()),
    st.sampled_from([Retry(0.0, "r"), Retry(20.0, "r"), Retry(5.0, "r", "host")]),
    st.sampled_from([Bury("x"), Bury("y", "why")]),
)


class Model(RuleBasedStateMachine):
    """What is the same for every adapter."""

    pair: tuple[Any, ...]

    def _open(self) -> tuple[Any, ...]:
        raise AssertionError("a model opens an adapter")

    @initialize(type=st.sampled_from(["fanout", "topic"]))
    def begin(self, type: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.type = type
        self.reference = MemoryExchange(type=type, clock=self.clock, **OPTIONS)  # type: ignore[arg-type]
        self.pair = self._open()
        self.turn = 0
        self.requests: list[tuple[str, str, str]] = []
        self.tokens: list[str] = []
        for exchange in (self.reference, self.pair[0]):
            exchange.declare(QUEUES)
        for queue in NAMES:  # from now on this process consumes them: what waits in a broker unseen may be twice
            self.pair[0].lease(queue, 0, consumer="c1", request_id="0" * 32)

    @property
    def tested(self) -> Any:
        """All of them by turns."""
        self.turn += 1
        return self.pair[self.turn % len(self.pair)]

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self._close()
            shutil.rmtree(self.folder)

    def _close(self) -> None:
        for exchange in self.pair:
            exchange.close()

    @rule(batch=st.lists(st.tuples(ids, st.sampled_from(["page", "page", "news.x", "other", "log"])), max_size=6))
    def publish(self, batch: list[tuple[str, str]]) -> None:
        given = [log(f"log{id}") if kind == "log" else message(f"{kind}{id}", kind) for id, kind in batch]
        messages = [one for one in given if self._may_publish(one)]
        self.reference.publish(messages)
        self.tested.publish(messages)

    @rule(queue=st.sampled_from(NAMES), count=st.integers(0, 5), consumer=st.sampled_from(CONSUMERS))
    def lease(self, queue: str, count: int, consumer: str) -> None:
        request = f"{len(self.requests):032x}"
        self.requests.append((queue, consumer, request))
        self._lease(queue, count, consumer, request)

    @rule(count=st.integers(1, 5), consumer=st.sampled_from(CONSUMERS))
    def lease_from_a(self, count: int, consumer: str) -> None:
        """Most of the traffic is in one queue, so that its copies go many ways."""
        self.lease("a", count, consumer)

    @rule(count=st.integers(1, 5), consumer=st.sampled_from(CONSUMERS), outcome=outcomes)
    def work_on_a(self, count: int, consumer: str, outcome: Outcome) -> None:
        before = len(self.tokens)
        self.lease("a", count, consumer)
        self._settle([(token, outcome) for token in self.tokens[before:]])

    @rule(back=st.integers(1, 4), count=st.integers(1, 5))
    def repeat_a_request(self, back: int, count: int) -> None:
        if back <= len(self.requests):
            queue, consumer, request = self.requests[-back]
            self._lease(queue, count, consumer, request)

    def _lease(self, queue: str, count: int, consumer: str, request: str) -> None:
        expected = self.reference.lease(queue, count, consumer=consumer, request_id=request)
        assert self.tested.lease(queue, count, consumer=consumer, request_id=request) == expected
        self.tokens += [one.token for one in expected]

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Recent tokens, stale ones, the same one twice."""
        if self.tokens:
            some = data.draw(st.lists(st.tuples(st.sampled_from(self.tokens[-12:]), outcomes), max_size=8))
            self._settle(some)

    @rule(outcome=outcomes)
    def settle_all(self, outcome: Outcome) -> None:
        self._settle([(token, outcome) for token in self.tokens])

    def _settle(self, some: list[tuple[str, Outcome]]) -> None:
        settlements = [Settlement(token, outcome) for token, outcome in some]
        assert self.tested.settle(settlements) == self.reference.settle(settlements)

    @rule(data=st.data(), release=st.booleans())
    def renew_or_release(self, data: st.DataObject, release: bool) -> None:
        tokens = data.draw(st.lists(st.sampled_from(self.tokens[-12:]), unique=True)) if self.tokens else []
        if release:
            self.reference.release(tokens)
            self.tested.release(tokens)
        else:
            assert self.tested.renew(tokens) == self.reference.renew(tokens)

    @rule(consumer=st.sampled_from(CONSUMERS))
    def die(self, consumer: str) -> None:
        assert self.tested.forfeit(consumer) == self.reference.forfeit(consumer)

    @rule(seconds=st.sampled_from([8.0, 8.0, 25.0, 25.0, 70.0, -70.0, 4_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

    @rule(kick=st.booleans(), queue=st.sampled_from([None, "a", "b"]), reason=st.sampled_from([None, "x", "crashed"]))
    def redrive(self, kick: bool, queue: str | None, reason: str | None) -> None:
        if kick:
            assert self.tested.kick(queue=queue, reason=reason) == self.reference.kick(queue=queue, reason=reason)
        else:
            assert self.tested.drop(queue=queue, reason=reason) == self.reference.drop(queue=queue, reason=reason)

    @invariant()
    def same_state(self) -> None:
        if hasattr(self, "pair"):
            assert self._seen(self.tested.counts()) == self._seen(self.reference.counts())
            assert self.tested.dead() == self.reference.dead()

    def _seen(self, counts: dict[str, QueueCounts]) -> dict[str, QueueCounts]:
        return counts

    def _may_publish(self, one: Message) -> bool:
        return True


class SqliteModel(Model):
    def _open(self) -> tuple[SqliteExchange, ...]:
        path = self.folder / "state.db"
        return tuple(
            SqliteExchange(path, type=self.type, clock=self.clock, **OPTIONS)  # type: ignore[arg-type]
            for _ in range(2)
        )

    @rule()
    def everybody_dies(self) -> None:
        """Closing frees the OS locks, as a kill does: the leases end as soon as anybody asks."""
        for exchange in self.pair:
            exchange.close()
        self.pair = self._open()
        for consumer in CONSUMERS:
            self.reference.forfeit(consumer)
            self.tested.forfeit(consumer)

    @invariant()
    def counters_and_messages_agree_with_the_rows(self) -> None:
        if not hasattr(self, "pair"):
            return
        rows = self.tested._file.read(
            lambda db: db.execute(
                """SELECT m.number, m.queues & ~(1 << 62), ifnull(sum(1 << c.queue), 0), count(c.queue)
                FROM x_message m LEFT JOIN (SELECT queue, number FROM x_ready UNION ALL
                    SELECT queue, number FROM x_delayed UNION ALL SELECT queue, number FROM x_suspect UNION ALL
                    SELECT queue, number FROM x_dead UNION ALL
                    SELECT b.queue, l.number FROM x_lease l JOIN x_batch b ON b.id = l.batch) c USING (number)
                GROUP BY m.number"""
            ).fetchall()
        )
        for number, queues, found, copies in rows:
            assert queues == found, f"message {number}: its queues and its copies differ"
            assert copies == queues.bit_count(), f"message {number} is in two places of one queue"


class RabbitModel(Model):
    def _open(self) -> tuple[RabbitExchange, ...]:
        table = RabbitTable(queues="classic")
        return (open_rabbit(self.folder, table=table, type=self.type, clock=self.clock, **OPTIONS),)

    def _seen(self, counts: dict[str, QueueCounts]) -> dict[str, QueueCounts]:
        """Its messages are numbered by a clock that never goes back: their age may be another."""
        return {name: msgspec.structs.replace(one, oldest_ready_s=0.0) for name, one in counts.items()}

    def _may_publish(self, one: Message) -> bool:
        """Not what only some of its queues still have: each publication has a place of its own in the order, and does
        not inherit the first one's."""
        lines = [self.reference._lines[name] for name in self.reference._router.targets(one.kind)]
        having = [one.id in line.ids for line in lines]
        return all(having) or not any(having)

    def _close(self) -> None:
        self.pair[0].remove()
        self.pair[0].close()


SETTINGS = settings(
    max_examples=100,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),  # a failure is printed as it was found: shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)
SqliteModel.TestCase.settings = SETTINGS
RabbitModel.TestCase.settings = settings(SETTINGS, max_examples=12)
TestSqliteModel = SqliteModel.TestCase
TestRabbitModel = RabbitModel.TestCase
