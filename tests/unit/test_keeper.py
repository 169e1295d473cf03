"""The keeper renews what it holds, forgets what it drops, and trusts its own clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from crawler.error import BackendError
from crawler.keeper import Keeper

HANG_S = 10.0


class Store:
    """Answers renewals as told, and remembers them."""

    def __init__(self, *answers: tuple[str, ...] | BackendError) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, ...]] = []
        self.enough = threading.Event()

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        self.asked.append(tuple(tokens))
        answer = self._answers.pop(0) if self._answers else ()
        if not self._answers:
            self.enough.set()
        if isinstance(answer, BackendError):
            raise answer
        return answer


def test_renews_what_it_holds_and_not_what_it_dropped() -> None:
    store = Store((), ())
    keeper = Keeper(store.renew, lease_s=0.06)
    keeper.hold(["a", "b"], monotonic())
    keeper.drop(["b"])
    keeper.start()
    assert store.enough.wait(HANG_S)
    keeper.stop()
    assert set(store.asked) == {("a",)}


def test_tells_what_the_store_lost() -> None:
    store = Store(("b",), ())
    lost: list[str] = []
    keeper = Keeper(store.renew, lease_s=0.06, on_lost=lost.extend)
    keeper.hold(["a", "b"], monotonic())
    keeper.start()
    assert store.enough.wait(HANG_S)
    keeper.stop()
    assert lost == ["b"]
    assert not keeper.holds("b")
    assert store.asked[1] == ("a",)


def test_counts_a_lease_as_lost_by_its_own_clock() -> None:
    keeper = Keeper(lambda tokens: (), lease_s=60.0)
    keeper.hold(["old"], monotonic() - 61.0)
    keeper.hold(["new"], monotonic())
    assert not keeper.holds("old")
    assert keeper.holds("new")
    assert not keeper.holds("never")


def test_a_store_that_is_away_does_not_end_the_thread() -> None:
    store = Store(BackendError("away"), BackendError("away"), ())
    keeper = Keeper(store.renew, lease_s=0.06)
    keeper.hold(["a"], monotonic())
    keeper.start()
    assert store.enough.wait(HANG_S)
    keeper.stop()
    assert store.asked == [("a",)] * 3
