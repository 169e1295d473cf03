"""Random sequences of verbs, crashes and clock jumps: every adapter answers exactly as the plain reference does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crawler.error import LeaseLost
from crawler.frontier import Frontier
from crawler.frontier.memory import MemoryFrontier
from crawler.model import Bury, Done, Outcome, Request, Retry, Robots, Rules, Settlement
from crawler.url import fingerprint
from crawler.url import host as host_of
from crawler.view import Shard
from tests.contract.frontiers import ADAPTERS, START_MS, FakeClock, balanced, request_id

HOSTS = ("a.test", "www.a.test", "c.test")
"""Of two domains."""
WORKERS = ("w1", "w2", "w3")
PRODUCERS = ("seeds", "w1/links")

RULES = st.builds(
    Rules,
    order=st.sampled_from(["fifo", "lifo"]),
    lease_s=st.just(10.0),
    suspect_wait_s=st.sampled_from([0.0, 20.0]),
    crashes_max=st.sampled_from([1, 2]),
    pending_max=st.sampled_from([0, 8]),
    delay_s=st.sampled_from([0.0, 0.0, 1.5]),
    per_host=st.sampled_from([0, 1, 2]),
    robots=st.booleans(),
    host_failures_max=st.sampled_from([2, 3]),
    host_backoff_s=st.just(1.0),
    pages_max=st.sampled_from([0, 0, 6]),
    bytes_max=st.sampled_from([0, 0, 500]),
    latency_factor=st.sampled_from([0.0, 2.0]),
    delay_max_s=st.sampled_from([2.0, 60.0]),
    per_domain=st.sampled_from([0, 0, 0, 1, 2]),
    hours=st.sampled_from([(), (), (), ("22:00-22:20", "22:30-22:00")]),
)
REQUESTS = st.lists(
    st.builds(
        lambda scheme, host, page, priority, wait_s, visit: Request(
            url=f"{scheme}://{host}/{page}",
            priority=priority,
            not_before_ms=START_MS + wait_s * 1000 if wait_s else 0,
            visit=visit,
        ),
        st.sampled_from(["http", "http", "http", "https"]),
        st.sampled_from(HOSTS),
        st.integers(0, 15),
        st.sampled_from([0, 0, 0, 9]),
        st.sampled_from([0, 0, 0, 5, 40]),
        st.sampled_from([0, 0, 0, 1, 2]),
    ),
    max_size=8,
)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Done, reason=st.sampled_from(["", "", "redirect"]), bytes=st.just(100), items=st.just(2)),
    st.builds(Retry, st.sampled_from([0.0, 0.5, 7.0]), st.just("http_500")),
    st.builds(Retry, st.sampled_from([0.0, 3.0]), st.just("http_503"), st.just("host")),
    st.builds(Retry, st.just(0.0), st.just("connect"), st.just("host")),
    st.builds(Bury, st.just("http_404"), st.just("gone")),
    st.just(Done("robots", fetched=False)),
)
SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TIMES_S = st.lists(st.sampled_from([0.0, 0.2, 3.0, 700.0]), max_size=4)
WAITS_S = st.sampled_from([0.001, 0.3, 1.4, 1.501, 2.0, 5.1, 10.0, 11.0, 25.0, 1000.0, -2.0, -30.0])


def _bare(answer: Any) -> Any:
    """Without what only a server has: where it is, and its memory."""
    if isinstance(answer, tuple) and answer and isinstance(answer[0], Shard):
        return tuple(msgspec.structs.replace(shard, place="", memory_bytes=0) for shard in answer)
    return answer


class Comparison(RuleBasedStateMachine):
    """Makes each call on both and compares the answers."""

    adapter: str

    @initialize(rules=RULES)
    def open(self, rules: Rules) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.tested = ADAPTERS[self.adapter](Path(self.folder.name), rules, self.clock)
        self.reference: Frontier = MemoryFrontier(rules, clock=self.clock)
        self.tokens: list[str] = []
        self.producers: list[str] = []
        self.request_ids: list[tuple[str, str]] = []
        self.added: list[Request] = []

    def teardown(self) -> None:
        if hasattr(self, "tested"):
            self.tested.close()
            self.folder.cleanup()

    def both(self, verb: str, *arguments: Any, **named: Any) -> Any:
        answers = []
        for frontier in (self.tested, self.reference):
            try:
                answers.append(_bare(getattr(frontier, verb)(*arguments, **named)))
            except LeaseLost:
                answers.append(LeaseLost)
        assert answers[0] == answers[1], f"{verb}{arguments}{named}"
        return answers[0]

    def pick(self, data: st.DataObject, values: list[Any], *, recent: int = 12) -> Any:
        return data.draw(st.sampled_from(values[-recent:]))

    @rule(requests=REQUESTS)
    def add(self, requests: list[Request]) -> None:
        self.both("add", requests)
        self.added.extend(requests)

    @rule(requests=REQUESTS, data=st.data())
    @precondition(lambda self: self.producers)
    def add_as_producer(self, requests: list[Request], data: st.DataObject) -> None:
        self.both("add", requests, producer=self.pick(data, self.producers, recent=3))

    @rule(count=st.sampled_from([0, 1, 1, 3, 8, 300]), worker=st.sampled_from(WORKERS))
    def lease(self, count: int, worker: str) -> None:
        id = request_id()
        leased = self.both("lease", count, worker=worker, request_id=id)
        self.tokens.extend(lease.token for lease in leased.leases)
        if leased.leases:
            self.request_ids.append((worker, id))

    @rule(data=st.data())
    @precondition(lambda self: self.request_ids)
    def lease_again(self, data: st.DataObject) -> None:
        worker, id = self.pick(data, self.request_ids, recent=3)
        self.both("lease", 5, worker=worker, request_id=id)

    @rule(data=st.data(), outcome=OUTCOMES)
    @precondition(lambda self: self.tokens)
    def settle_one(self, data: st.DataObject, outcome: Outcome) -> None:
        self.both("settle", [Settlement(self.pick(data, self.tokens), outcome)])

    @rule(data=st.data(), outcomes=st.lists(OUTCOMES, max_size=6))
    @precondition(lambda self: self.tokens)
    def settle_some(self, data: st.DataObject, outcomes: list[Outcome]) -> None:
        self.both("settle", [Settlement(self.pick(data, self.tokens), outcome) for outcome in outcomes])

    @rule(data=st.data(), seconds=TIMES_S, count=st.integers(1, 4))
    @precondition(lambda self: self.tokens)
    def fetched(self, data: st.DataObject, seconds: list[float], count: int) -> None:
        self.both("fetched", [self.pick(data, self.tokens) for _ in range(count)], seconds)

    @rule(data=st.data(), verb=st.sampled_from(["release", "renew"]), count=st.integers(1, 4))
    @precondition(lambda self: self.tokens)
    def touch(self, data: st.DataObject, verb: str, count: int) -> None:
        self.both(verb, [self.pick(data, self.tokens) for _ in range(count)])

    @rule(data=st.data())
    @precondition(lambda self: self.producers)
    def touch_producer(self, data: st.DataObject) -> None:
        token = self.pick(data, self.producers, recent=3)
        if data.draw(st.booleans()):
            self.both("renew", [token, "nonsense", "producer:x", ":7"])
        else:
            self.both("close_producer", token)

    @rule(name=st.sampled_from(PRODUCERS))
    def open_producer(self, name: str) -> None:
        self.producers.append(self.both("open_producer", name))

    @rule(worker=st.sampled_from(WORKERS))
    def forfeit(self, worker: str) -> None:
        self.both("forfeit", worker)

    @rule(seconds=WAITS_S)
    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    @rule(
        host=st.sampled_from(HOSTS),
        scheme=st.sampled_from(["http", "https"]),
        expires_s=st.sampled_from([4.0, 9000.0]),
        asked_s=st.sampled_from([0.0, 0.0, 0.3, 4.0]),
    )
    def set_robots(self, host: str, scheme: str, expires_s: float, asked_s: float) -> None:
        robots = Robots(origin=f"{scheme}://{host}", text="x", expires_s=expires_s)
        self.both("set_host", host, robots=robots, crawl_delay_s=asked_s)

    @rule(
        host=st.sampled_from(HOSTS),
        delay_s=st.sampled_from([None, -1.0, 0.0, 2.5]),
        per_host=st.sampled_from([None, -1, 0, 3]),
        pause_s=st.sampled_from([None, None, 0.0, 4.0]),
    )
    def set_host(self, host: str, delay_s: float | None, per_host: int | None, pause_s: float | None) -> None:
        self.both("set_host", host, delay_s=delay_s, per_host=per_host, pause_s=pause_s)

    @rule(
        verb=st.sampled_from(["kick", "drop"]),
        reason=st.sampled_from([None, "http_404", "host_down", "crashed"]),
        host=st.sampled_from([None, *HOSTS]),
    )
    def dead_letters(self, verb: str, reason: str | None, host: str | None) -> None:
        self.both(verb, reason=reason, host=host)

    @rule(host=st.sampled_from([None, *HOSTS, "unknown.test"]))
    def purge(self, host: str | None) -> None:
        self.both("purge", host=host)

    @rule(host=st.sampled_from([None, *HOSTS, "unknown.test"]), limit=st.sampled_from([0, 1, 3, 5, 100]))
    def peek(self, host: str | None, limit: int) -> None:
        self.both("peek", host=host, limit=limit)

    @rule(data=st.data())
    @precondition(lambda self: self.added)
    def trace(self, data: st.DataObject) -> None:
        request = self.pick(data, self.added, recent=40)
        self.both("trace", fingerprint(request), host_of(request.url))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.tested.update_record(paused=paused)
        self.reference.update_record(paused=paused)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "tested"):
            return
        self.both("counts")
        assert balanced(self.tested)
        self.both("finished")
        self.both("workers")
        self.both("dead")
        self.both("hosts")
        self.both("shards")
        for host in HOSTS:
            self.both("host", host)


@pytest.mark.parametrize("adapter", [name for name in ADAPTERS if name != "memory"])
def test_adapter_answers_as_the_reference(adapter: str) -> None:
    machine: type[RuleBasedStateMachine] = type(f"Comparison_{adapter}", (Comparison,), {"adapter": adapter})
    run_state_machine_as_test(machine, settings=SETTINGS)
