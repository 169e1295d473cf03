"""What a lease call does on the side: mind the clock, reap what lapsed, promote what is due, bury what is doomed."""

from __future__ import annotations

from crawler.frontier import REAP_MAX
from crawler.frontier.policy import Clock, clock, ms
from crawler.frontier.sqlite.look import Look
from crawler.frontier.sqlite.step import HELD, Held, Step


def look_at_clock(step: Step) -> None:
    """Rule 6; and the time to forget request_ids that nobody can repeat any more."""
    db, totals, now, lease_ms = step.db, step.totals, step.now, ms(step.rules.lease_s)
    seen = clock(totals.asked_ms, now, lease_ms)
    if seen is Clock.SAME:
        return
    if seen is Clock.BACK:
        _clock_set_back(step, totals.asked_ms - now)
    if seen is not Clock.LATER:
        totals.grace_ms = now + lease_ms
    totals.asked_ms = now
    sql = """DELETE FROM batch WHERE NOT given_ms BETWEEN ? AND ?
        AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.batch = batch.id)"""
    db.execute(sql, (now - 2 * lease_ms, now))


def set_back(step: Step) -> None:
    """The part of it that comes before any wait begins."""
    totals, now, lease_ms = step.totals, step.now, ms(step.rules.lease_s)
    if clock(totals.asked_ms, now, lease_ms) is Clock.BACK:
        _clock_set_back(step, totals.asked_ms - now)
        totals.grace_ms, totals.asked_ms = now + lease_ms, now


def _clock_set_back(step: Step, back_ms: int) -> None:
    """Keep what remains of every wait. Cost: in proportion to hosts and delayed requests; but it happens rarely."""
    for column in ("next_ms", "paused_ms", "due_ms", "ready_ms"):
        step.db.execute(f"UPDATE host SET {column} = {column} - ?", (back_ms,))
    for table, column in (("lease", "expires_ms"), ("producer", "expires_ms")):
        step.db.execute(f"UPDATE {table} SET {column} = {column} - ?", (back_ms,))
    for table, column in (("delayed", "due_ms"), ("suspect", "since_ms")):
        # In two strokes, because these are keys: an update in place could meet a row that has not moved yet.
        step.db.execute(f"UPDATE {table} SET {column} = -{column} - 1")
        step.db.execute(f"UPDATE {table} SET {column} = -{column} - 1 - ?", (back_ms,))
    step.db.execute("UPDATE lease SET since_ms = since_ms - ? WHERE since_ms IS NOT NULL", (back_ms,))


def place_again(step: Step) -> None:
    """The crawl's order was changed: every ready request moves. Cost: in proportion to them, once."""
    db, step.placing = step.db, step.rules.order
    db.execute("UPDATE state SET placing = ?", (step.placing,))
    moved = [
        (host, step.place(priority, request), request, origin)
        for host, request, origin, priority in db.execute(
            "SELECT q.host, q.request, q.origin, r.priority FROM ready q JOIN request r ON r.id = q.request"
        )
    ]
    db.execute("DELETE FROM ready")
    db.executemany("INSERT INTO ready VALUES (?, ?, ?, ?)", sorted(moved))
    held = db.execute("SELECT l.serial, r.priority, r.id FROM lease l JOIN request r ON r.id = l.request").fetchall()
    db.executemany(
        "UPDATE lease SET place = ? WHERE serial = ?",
        [(step.place(priority, request), serial) for serial, priority, request in held],
    )


def tidy(step: Step, look: Look) -> bool:
    """Reap, promote and bury, REAP_MAX in all. True when anything was done."""
    budget, now = REAP_MAX, step.now
    lapses_ms = look.lapses_ms()
    if lapses_ms is not None and lapses_ms <= now:
        sql = f"{HELD} WHERE l.expires_ms <= ? ORDER BY l.expires_ms, l.serial LIMIT ?"
        lapsed = [Held(*row) for row in step.db.execute(sql, (now, budget))]
        step.load({held.host for held in lapsed})
        for held in lapsed:
            step.died(held)
        budget -= len(lapsed)
        step.db.execute("UPDATE producer SET state = 'lost' WHERE state = 'open' AND expires_ms <= ?", (now,))
    if look.delayed_ms is not None and look.delayed_ms <= now and budget:
        budget -= _promote(step, budget)
    step.flush()
    if step.db.execute("SELECT EXISTS (SELECT 1 FROM host WHERE doomed)").fetchone()[0]:
        budget -= _bury_doomed(step, budget)
    return budget < REAP_MAX or (lapses_ms is not None and lapses_ms <= now)


def _promote(step: Step, budget: int) -> int:
    sql = """SELECT d.due_ms, d.request, r.priority, r.origin, o.host, d.later
        FROM delayed d JOIN request r ON r.id = d.request JOIN origin o ON o.id = r.origin
        WHERE d.due_ms <= ? ORDER BY d.due_ms, d.request LIMIT ?"""
    rows = step.db.execute(sql, (step.now, budget)).fetchall()
    step.db.executemany("DELETE FROM delayed WHERE due_ms = ? AND request = ?", [row[:2] for row in rows])
    step.load({row[4] for row in rows})
    for _, request, priority, origin, host, later in rows:
        step.took_delayed(host, later=later)
        step.make_ready(request, host=host, place=step.place(priority, request), origin=origin)
    return len(rows)


def _bury_doomed(step: Step, budget: int) -> int:
    """The pages of hosts that are down (rule 9)."""
    left = budget
    for (host,) in step.db.execute("SELECT id FROM host WHERE doomed ORDER BY id").fetchall():
        sql = "SELECT host, place, request FROM ready WHERE host = ? ORDER BY place LIMIT ?"
        ready = step.db.execute(sql, (host, left)).fetchall()
        step.db.executemany("DELETE FROM ready WHERE host = ? AND place = ?", [row[:2] for row in ready])
        step.took_ready(host, len(ready))
        left -= len(ready)
        sql = "SELECT since_ms, request FROM suspect WHERE host = ? ORDER BY since_ms, request LIMIT ?"
        suspects = step.db.execute(sql, (host, left)).fetchall()
        step.db.executemany("DELETE FROM suspect WHERE since_ms = ? AND request = ?", suspects)
        step.totals.suspects -= len(suspects)
        left -= len(suspects)
        step.load((host,))
        for request in [row[2] for row in ready] + [row[1] for row in suspects]:
            step.bury(request, host=host, reason="host_down")
        if not left:
            break
    return budget - left
