"""The fleet keeps real processes alive: restarts, backoff, draining, killing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from crawler.fleet import Exit, Fleet, Member

HANG_S = 15.0


def until(fleet: Fleet, reached: Callable[[], bool]) -> list[Exit]:
    """Turn the fleet's wheel until `reached`; returns who ended meanwhile."""
    exits: list[Exit] = []
    deadline = time.monotonic() + HANG_S
    while not reached():
        assert time.monotonic() < deadline, "the fleet hangs"
        exits += fleet.wait(0.05)
    return exits


def sleeper(name: str) -> int:
    time.sleep(HANG_S * 2)
    return 1


def test_a_child_that_finished_stays_away() -> None:
    with Fleet([Member(role="w", name="w1", main=lambda name: 0)], grace_s=1.0) as fleet:
        exits = until(fleet, lambda: not fleet.running("w"))
    assert [exit_.code for exit_ in exits] == [0]
    assert fleet.restarts == 0


def test_a_killed_child_is_forfeited_and_comes_back_under_a_new_name() -> None:
    dead: list[str] = []

    def died(name: str) -> bool:
        dead.append(name)
        return True

    with Fleet([Member(role="w", name="w1", main=sleeper, died=died)], grace_s=0.1) as fleet:
        fleet.wait(0.0)
        (first,) = fleet.pids()
        os.kill(first, signal.SIGKILL)
        until(fleet, lambda: fleet.restarts == 1 and bool(fleet.pids()))
        (second,) = fleet.pids()
        assert second != first
        os.kill(second, signal.SIGKILL)
        until(fleet, lambda: fleet.restarts == 2)
    assert len(set(dead)) == 2
    assert all(name.startswith("w1-") for name in dead)


def test_backoff_grows_while_nothing_is_settled() -> None:
    starts: list[float] = []

    def died(name: str) -> bool:
        starts.append(time.monotonic())
        return False

    with Fleet([Member(role="w", name="w1", main=lambda name: 7, died=died)], grace_s=1.0) as fleet:
        until(fleet, lambda: len(starts) == 4)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[0] >= 0.1
    assert gaps[1] >= 0.2
    assert gaps[2] >= 0.4


def test_stop_drains_and_a_deaf_child_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def deaf(name: str) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ready.touch()
        return sleeper(name)

    def polite(name: str) -> int:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
        return sleeper(name)

    members = [Member(role="w", name="deaf", main=deaf), Member(role="w", name="polite", main=polite)]
    with Fleet(members, grace_s=-4.5) as fleet:  # 0.5 s in all
        until(fleet, ready.exists)
        fleet.stop("w")
        exits = until(fleet, lambda: not fleet.pids())
    assert {exit_.member.name: exit_.code for exit_ in exits}["deaf"] == -signal.SIGKILL
    assert fleet.restarts == 0


def test_settings_errors_are_not_tried_again() -> None:
    with Fleet([Member(role="w", name="w1", main=lambda name: 2)], grace_s=1.0) as fleet:
        exits = until(fleet, lambda: not fleet.running("w"))
    assert [exit_.code for exit_ in exits] == [2]


def test_signals_are_noted_for_the_caller() -> None:
    with Fleet([Member(role="w", name="w1", main=sleeper)], grace_s=0.1) as fleet:
        fleet.wait(0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        until(fleet, lambda: fleet.signals == [signal.SIGTERM])


def test_leaving_kills_what_is_left() -> None:
    with Fleet([Member(role="w", name="w1", main=sleeper)], grace_s=0.1) as fleet:
        fleet.wait(0.0)
        (pid,) = fleet.pids()
    assert not Path(f"/proc/{pid}/exe").exists()
