"""The lease step of the reference: what is due is given, in the order that the rules say."""

from __future__ import annotations

from heapq import heappop

from crawler.frontier import LEASE_MAX, SCAN_MAX
from crawler.frontier.domain import domain_of
from crawler.frontier.host import HostState
from crawler.frontier.memory_parts import Entry, Holding, WorkerState
from crawler.frontier.memory_state import State
from crawler.frontier.policy import Clock, clock, ms, next_due_s, stale
from crawler.model import Lease, Leased, Request
from crawler.url import fingerprint


def lease(state: State, count: int, *, worker: str, request_id: str, now: int) -> Leased:
    """`Frontier.lease`."""
    look_at_clock(state, now)
    me = state.workers.setdefault(worker, WorkerState({}))
    if stale(me.seen_ms, now, state.lease_ms):
        me.seen_ms = now
    if request_id in state.batches:
        current = [state.leases[serial] for serial in state.batches[request_id][1] if serial in state.leases]
        return Leased(tuple(_value(state, one) for one in current), _next_due(state, worker, now))
    state.tidy(now)
    count = min(count, LEASE_MAX, state.totals.room(state.rules))
    if count <= 0 or state.paused or any(one.alone for one in me.held.values()):
        return Leased()
    first = state.serial + 1
    drained = _drain(state, worker, now)
    more: bool | None = None
    if drained is None:
        if state.rules.per_domain:
            more = _give_by_domain(state, count, worker, request_id, now)
        else:
            _give_ready(state, count, worker, request_id, now)
        if first > state.serial and not me.held:
            _give_suspect(state, worker, request_id, now)
    elif not me.held and _may_give(state, drained, now):
        _give_alone(state, drained, worker, request_id, now)
    leases = tuple(_value(state, state.leases[serial]) for serial in range(first, state.serial + 1))
    if leases:
        me.seen_ms = now
    return Leased(leases, 0.0 if len(leases) == count else _next_due(state, worker, now, more))


def look_at_clock(state: State, now: int) -> None:
    """Rule 6; and the time to forget request_ids that nobody can repeat any more."""
    totals = state.totals
    seen = clock(totals.asked_ms, now, state.lease_ms)
    if seen is Clock.SAME:
        return
    if seen is Clock.BACK:
        state.clock_set_back(totals.asked_ms - now)
    if seen is not Clock.LATER:
        totals.grace_ms = now + state.lease_ms
    totals.asked_ms = now
    for request_id, (given_ms, serials) in list(state.batches.items()):
        if not 0 <= now - given_ms <= 2 * state.lease_ms and not any(one in state.leases for one in serials):
            del state.batches[request_id]


def set_back(state: State, now: int) -> int:
    """The part of it that comes before any wait begins. Returns `now`."""
    totals = state.totals
    if clock(totals.asked_ms, now, state.lease_ms) is Clock.BACK:
        state.clock_set_back(totals.asked_ms - now)
        totals.grace_ms, totals.asked_ms = now + state.lease_ms, now
    return now


def _drain(state: State, worker: str, now: int) -> Entry | None:
    """The overdue suspect that this worker must wait for with empty hands, if it is the one (rule 5)."""
    totals = state.totals
    if totals.drain_worker:
        waiting = state.suspects.get(totals.drain_request)
        gone = waiting is None or waiting.host.down or waiting.host.paused_ms > now
        if gone or not 0 <= now - totals.drain_ms <= state.lease_ms:
            totals.stop_drain()
    if not totals.drain_worker:
        for entry in state.suspects_in_order():
            if entry.since_ms + ms(state.rules.suspect_wait_s) <= now and _may_give(state, entry, now):
                totals.start_drain(worker, entry.number, entry.host, state.rules)
                break
    if totals.drain_worker != worker:
        return None
    totals.drain_ms = now
    return state.suspects[totals.drain_request]


def _reserved(state: State) -> HostState | None:
    """The host that gives nothing else while a worker empties its hands for its suspect."""
    return state.host_by_id.get(state.totals.drain_host)


def _give_ready(state: State, count: int, worker: str, request_id: str, now: int) -> None:
    """Rule 10: round by round, one of each due host."""
    hosts = turn = state.due_hosts(now, count, _reserved(state))
    while turn and count:
        again = []
        for host in turn[:count]:
            waiting = state.ready[host.id]
            if waiting and host.room(state.rules):
                count -= 1
                if state.give(waiting[0][1], worker, request_id, now):
                    heappop(waiting)
                    state.totals.ready -= 1
                    again.append(host)
        turn = again
    for host in hosts:
        state.refresh(host)


def _give_by_domain(state: State, count: int, worker: str, request_id: str, now: int) -> bool:
    """Rule 16: one of each due host whose domain has room. Whether to ask again at once: more hosts are due than could
    be looked at."""
    reserved, flying = _reserved(state), state.flying()
    due = [host for host in state.in_turn() if host.turn_ms() <= now]
    window = due[state.totals.scan :][:SCAN_MAX]
    given = 0
    for host in window:
        if given == count:
            break
        if host is not reserved and state.has_room(host, flying):
            given += 1
            flying[domain_of(host.name)] += 1
            if state.give(state.ready[host.id][0][1], worker, request_id, now):
                heappop(state.ready[host.id])
                state.totals.ready -= 1
            state.refresh(host)
    more = len(due) > state.totals.scan + len(window)
    state.totals.scan = state.totals.scan + len(window) if more and not given else 0
    return more or given > 0  # one that gave may give another


def _may_give(state: State, entry: Entry, now: int) -> bool:
    """Whether a suspect could be leased now."""
    return entry.host.may_give(state.rules, now) and state.has_room(entry.host, state.flying())


def _give_suspect(state: State, worker: str, request_id: str, now: int) -> None:
    """The one waiting for longest, unless another worker empties its hands for it."""
    reserved = _reserved(state)
    for entry in state.suspects_in_order():
        mine = entry.number != state.totals.drain_request and entry.host is not reserved
        if mine and _may_give(state, entry, now):
            return _give_alone(state, entry, worker, request_id, now)


def _give_alone(state: State, entry: Entry, worker: str, request_id: str, now: int) -> None:
    if state.give(entry, worker, request_id, now, alone=True):
        state.take_suspect(entry)
        if state.totals.drain_request == entry.number:
            state.totals.stop_drain()
    state.refresh(entry.host)


def _next_due(state: State, worker: str, now: int, more: bool | None = None) -> float | None:
    """more: None, unless due hosts were looked at one by one and those left have no room in their domains now; then
    whether there are others."""
    totals, held = state.totals, state.workers[worker].held
    if any(one.alone for one in held.values()):
        return None
    if totals.drain_worker == worker and totals.drain_request in state.suspects:
        open_ms = state.suspects[totals.drain_request].host.open_ms()
        return None if held or open_ms <= now else next_due_s(now, open_ms)
    reserved = _reserved(state)
    times = [state.first_due_ms(reserved)]
    if more is not None:
        later = (host.turn_ms() for host in state.in_turn() if host is not reserved and host.turn_ms() > now)
        times = [now if more else next(later, None)]
    if state.delayed:
        times.append(state.delayed[0][0])
    ends = [one.expires_ms for one in state.leases.values()]
    ends += [one.expires_ms for one in state.producers.values() if one.state == "open"]
    times += [max(totals.grace_ms, end) for end in ends]
    for entry in state.suspects_in_order():
        time = max(entry.host.open_ms(), entry.since_ms + ms(state.rules.suspect_wait_s) if held else 0)
        if time > now and entry.host.room(state.rules):
            times.append(time)
    if state.doomed():
        times.append(now)
    return next_due_s(now, *times)


def _value(state: State, holding: Holding) -> Lease:
    entry, token = holding.entry, f"{holding.request_id}:{holding.serial}"
    if entry is None:
        request = Request(url=f"{holding.origin}/robots.txt")
        key = fingerprint(request)
        return Lease(token=token, request=request, fingerprint=key, host=holding.host.name, robots=True)
    return Lease(
        token=token,
        request=entry.request,
        fingerprint=entry.fingerprint,
        host=holding.host.name,
        attempts=entry.attempts,
        crashes=entry.crashes,
        alone=holding.alone,
        robots_ms=state.robots_stamp(holding.origin),
    )
