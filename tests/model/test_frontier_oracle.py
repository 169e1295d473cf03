"""The reference frontier against what a bystander can know: a small oracle of its own, which shares no code with it.

The oracle follows every request by what the verbs answered. Leases do not lapse by time here (that is compared between
the adapters in `test_frontier_model`); workers die.
"""

from __future__ import annotations

from typing import Any

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

from crawler.frontier.memory import MemoryFrontier
from crawler.model import Bury, Done, Lease, Request, Retry, Rules, Settlement
from crawler.view import Finish
from tests.contract.frontiers import FakeClock, balanced, request_id

HOSTS = ("a.test", "b.test")
WORKERS = ("w1", "w2")


class Known:
    """What the oracle knows of one request."""

    def __init__(self, request: Request, number: int) -> None:
        self.request = request
        self.number = number
        self.state = "ready"
        self.due_ms = 0
        self.attempts = 0
        self.crashes = 0
        self.lease: Lease | None = None
        self.worker = ""

    @property
    def token(self) -> str:
        assert self.lease is not None
        return self.lease.token

    @property
    def alone(self) -> bool:
        return self.lease is not None and self.lease.alone

    @property
    def host(self) -> str:
        return self.request.url.split("/")[2]


class Oracle(RuleBasedStateMachine):
    @initialize(
        order=st.sampled_from(["fifo", "lifo"]),
        delay_s=st.sampled_from([0.0, 1.0]),
        per_host=st.sampled_from([0, 1, 2]),
        crashes_max=st.sampled_from([1, 2]),
    )
    def open(self, order: Any, delay_s: float, per_host: int, crashes_max: int) -> None:
        self.given = Rules(
            order=order,
            delay_s=delay_s,
            per_host=per_host,
            crashes_max=crashes_max,
            robots=False,
            lease_s=1e6,
            suspect_wait_s=1e6,
        )
        self.clock = FakeClock()
        self.frontier = MemoryFrontier(self.given, clock=self.clock)
        self.known: dict[str, Known] = {}
        self.in_flight: dict[str, set[str]] = {host: set() for host in HOSTS}
        self.free_ms = dict.fromkeys(HOSTS, 0)

    def of(self, *states: str) -> list[Known]:
        return [one for one in self.known.values() if one.state in states]

    def promote(self) -> None:
        for one in self.of("delayed"):
            if one.due_ms <= self.clock.now_ms:
                one.state = "ready"

    @rule(
        numbers=st.lists(st.integers(0, 15), max_size=6),
        host=st.sampled_from(HOSTS),
        priority=st.sampled_from([0, 0, 3]),
    )
    def add(self, numbers: list[int], host: str, priority: int) -> None:
        requests = [Request(url=f"http://{host}/{number}", priority=priority) for number in numbers]
        fresh = 0
        for request in requests:
            if request.url not in self.known:
                self.known[request.url] = Known(request, len(self.known))
                fresh += 1
        assert self.frontier.add(requests).new == fresh

    @rule(count=st.integers(1, 4), worker=st.sampled_from(WORKERS))
    def lease(self, count: int, worker: str) -> None:
        held = [one for one in self.of("leased") if one.worker == worker]
        leases = self.frontier.lease(count, worker=worker, request_id=request_id()).leases
        self.promote()
        assert len(leases) <= count
        if any(one.alone for one in held):
            assert not leases
        for lease in leases:
            one = self.known[lease.request.url]
            assert (lease.attempts, lease.crashes) == (one.attempts, one.crashes)
            if lease.alone:
                assert (one.state, held, len(leases)) == ("suspect", [], 1)
                assert not any(self.may_be_leased(other.host) for other in self.of("ready"))
            else:
                assert one is self.first_ready(one.host)
            assert self.may_be_leased(one.host)
            one.state, one.lease, one.worker = "leased", lease, worker
            self.in_flight[one.host].add(lease.token)
        if len(leases) < count and not held and not leases:
            waiting = self.of("ready", "suspect")
            assert not any(self.may_be_leased(other.host) for other in waiting), "something could have been given"

    def first_ready(self, host: str) -> Known:
        sign = 1 if self.given.order == "fifo" else -1
        ready = [one for one in self.of("ready") if one.host == host]
        return min(ready, key=lambda one: (-one.request.priority, sign * one.number))

    def may_be_leased(self, host: str) -> bool:
        flying = len(self.in_flight[host])
        if self.given.delay_s:
            return not flying and self.clock.now_ms > self.free_ms[host]
        return not self.given.per_host or flying < self.given.per_host

    def land(self, one: Known, delays: int = 1) -> None:
        """Its fetch ended, if it had not; `delays`: 2 when its worker died."""
        if one.token in self.in_flight[one.host]:
            self.in_flight[one.host].remove(one.token)
            self.free_ms[one.host] = self.clock.now_ms + round(delays * self.given.delay_s * 1000)

    @rule(data=st.data(), outcome=st.sampled_from([Done(), Bury("x"), Retry(0.0, "x"), Retry(2.0, "x")]))
    @precondition(lambda self: self.of("leased"))
    def settle(self, data: st.DataObject, outcome: Any) -> None:
        one = data.draw(st.sampled_from(self.of("leased")))
        settlement = Settlement(one.token, outcome)
        assert self.frontier.settle([settlement, settlement]) == (one.token,)
        self.land(one)
        if isinstance(outcome, Retry):
            one.attempts += 1
            one.state = "delayed" if outcome.delay_s else "ready"
            one.due_ms = self.clock.now_ms + round(outcome.delay_s * 1000)
        else:
            one.state = "done" if isinstance(outcome, Done) else "dead"

    @rule(data=st.data())
    @precondition(lambda self: self.of("leased"))
    def fetched(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.of("leased")))
        self.frontier.fetched([one.token])
        self.land(one)

    @rule(data=st.data())
    @precondition(lambda self: self.of("leased"))
    def release(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.of("leased")))
        self.frontier.release([one.token])
        self.in_flight[one.host].discard(one.token)
        one.state = "suspect" if one.alone else "ready"

    @rule(worker=st.sampled_from(WORKERS))
    def worker_dies(self, worker: str) -> None:
        held = [one for one in self.of("leased") if one.worker == worker]
        assert self.frontier.forfeit(worker) == len(held)
        for one in held:
            self.land(one, delays=2)
            one.crashes += one.alone
            one.state = "dead" if one.alone and one.crashes >= self.given.crashes_max else "suspect"

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.0, 1.001, 3.0]))
    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    @rule(kick=st.booleans(), host=st.sampled_from([None, *HOSTS]))
    def dead_letters(self, kick: bool, host: str | None) -> None:
        matching = [one for one in self.of("dead") if host in (None, one.host)]
        assert (self.frontier.kick if kick else self.frontier.drop)(host=host) == len(matching)
        for one in matching:
            one.state = "ready" if kick else "dropped"
            one.attempts = one.crashes = 0

    @invariant()
    def counters_agree(self) -> None:
        if not hasattr(self, "frontier"):
            return
        counts = self.frontier.counts()
        assert balanced(self.frontier)
        assert counts.added == len(self.known)
        for state in ("leased", "dead", "done", "dropped"):
            assert getattr(counts, state) == len(self.of(state)), state
        assert counts.suspects == len(self.of("suspect"))
        assert counts.ready + counts.delayed == len(self.of("ready", "delayed"))

    def teardown(self) -> None:
        """Whatever happened, the crawl can be brought to its end, and nothing is missing."""
        if not hasattr(self, "frontier"):
            return
        self.frontier.close_producer(self.frontier.open_producer("end"))
        for worker in WORKERS:
            self.frontier.forfeit(worker)
        for _ in range(200):
            self.clock.wait(2)
            leases = self.frontier.lease(5, worker="last", request_id=request_id()).leases
            self.frontier.settle([Settlement(lease.token, Done()) for lease in leases])
        assert self.frontier.finished() is Finish.FINISHED
        counts = self.frontier.counts()
        assert counts.done + counts.dead + counts.dropped == len(self.known)


def test_the_reference_keeps_the_rules() -> None:
    run_state_machine_as_test(
        Oracle,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
