"""The ends of leases: outcomes, releases, reports of ended fetches, renewals. Each in one write transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crawler.frontier.host import with_times
from crawler.frontier.policy import ms, parse_token
from crawler.frontier.sqlite.step import HELD_BY_SERIAL, Held, Step, encode_list
from crawler.frontier.sqlite.tidying import look_at_clock, set_back
from crawler.model import Bury, Done, Retry, Settlement

_EXTEND = "UPDATE lease SET expires_ms = ? WHERE serial IN (SELECT value FROM json_each(?))"


def settle(step: Step, settlements: Sequence[Settlement]) -> tuple[str, ...]:
    """Returns the stale tokens."""
    set_back(step)
    current = _current(step, (one.token for one in settlements))
    stale = []
    for one in settlements:
        held = current.pop(one.token, None)
        if held is None:
            stale.append(one.token)
            continue
        host, outcome = step.end_lease(held), one.outcome
        if not held.fetched and not isinstance(outcome, Retry) and not outcome.fetched:
            host.in_flight -= 1
        elif not held.fetched:
            host.fetch_ended(step.rules, step.now)
        host.ended(step.rules, step.now, outcome, given_at_step=held.step, fetched=bool(held.fetched))
        if held.request is not None:
            step.shares[held.worker].pages += 1
            _settle_page(step, held, held.request, outcome)
        elif isinstance(outcome, Retry):
            host.paused_ms = max(host.paused_ms, step.now + ms(outcome.delay_s))
    step.flush()
    return tuple(stale)


def _settle_page(step: Step, held: Held, request: int, outcome: Done | Retry | Bury) -> None:
    totals = step.totals
    if isinstance(outcome, Done):
        totals.done += 1
        step.hosts[held.host].done += 1
        totals.items += outcome.items
        totals.bytes += outcome.bytes
        step.finished.append(request)
        if outcome.reason:
            step.reasons[f"done:{outcome.reason}"] += 1
        else:
            totals.pages += 1
    elif isinstance(outcome, Bury):
        step.bury(request, host=held.host, reason=outcome.reason, detail=outcome.detail)
    else:
        totals.retries += 1
        step.reasons[f"retry:{outcome.reason}"] += 1
        if outcome.blame == "page":
            step.failed.append(request)
        if outcome.blame == "page" and outcome.delay_s > 0:
            step.delay(request, host=held.host, due_ms=step.now + ms(outcome.delay_s))
        else:
            step.make_ready(request, host=held.host, place=held.place, origin=held.origin)


def fetched(step: Step, tokens: Sequence[str], seconds: Sequence[float]) -> None:
    """The delays of these leases' hosts start now."""
    set_back(step)
    current = _current(step, tokens)
    took: dict[str, int] = {}
    for token, took_ms in with_times(tokens, seconds):
        took.setdefault(token, took_ms)
    helds = [held for held in current.values() if not held.fetched]
    for token, held in current.items():
        if not held.fetched:
            step.hosts[held.host].fetch_ended(step.rules, step.now, took[token])
    sql = "UPDATE lease SET fetched = 1 WHERE serial IN (SELECT value FROM json_each(?))"
    step.db.execute(sql, (encode_list([held.serial for held in helds]),))
    step.flush()


def release(step: Step, tokens: Sequence[str]) -> None:
    """Give back unstarted."""
    set_back(step)
    for held in _current(step, tokens).values():
        host = step.end_lease(held)
        if not held.fetched:
            host.in_flight -= 1
        if held.request is not None and held.since_ms is not None:
            step.suspect(held.request, host=held.host, since_ms=held.since_ms)
        elif held.request is not None:
            step.make_ready(held.request, host=held.host, place=held.place, origin=held.origin)
    step.flush()


def renew(step: Step, tokens: Sequence[str]) -> tuple[str, ...]:
    """Returns the lost ones. Producers' tokens are among them."""
    look_at_clock(step)
    expires_ms = step.now + ms(step.rules.lease_s)
    current = _current(step, tokens)
    step.hosts.clear()
    step.db.execute(_EXTEND, (expires_ms, encode_list([held.serial for held in current.values()])))
    lost = []
    for token in tokens:
        if token not in current:
            sql = "UPDATE producer SET expires_ms = ? WHERE serial = ? AND state = 'open'"
            serial = producer_serial(token)
            if serial < 0 or not step.db.execute(sql, (expires_ms, serial)).rowcount:
                lost.append(token)
    step.flush()
    return tuple(lost)


def producer_serial(token: str) -> int:
    """-1 when it cannot be a producer's."""
    head, serial = parse_token(token)
    return serial if head == "producer" else -1


def _current(step: Step, tokens: Iterable[str]) -> dict[str, Held]:
    """The current leases of these tokens, with their hosts loaded."""
    wanted = {serial: request_id for request_id, serial in map(parse_token, tokens) if serial >= 0}
    rows = map(Held._make, step.db.execute(HELD_BY_SERIAL, (encode_list(list(wanted)),)).fetchall())
    helds = {f"{held.request_id}:{held.serial}": held for held in rows if wanted[held.serial] == held.request_id}
    step.load({held.host for held in helds.values()})
    return helds
