"""A bounded memory of fingerprints."""

from __future__ import annotations

from crawler.known import Known


def test_remembers_what_it_was_told() -> None:
    known = Known(10)
    known.update([1, 2])
    assert 1 in known
    assert 3 not in known


def test_is_bounded_and_forgets_the_oldest() -> None:
    known = Known(10)
    known.update(range(1_000))
    assert sum(number in known for number in range(1_000)) <= 10
    assert 999 in known
    assert 0 not in known


def test_what_is_met_often_stays() -> None:
    known = Known(10)
    known.update([7])
    for number in range(100, 200):
        known.update([number])
        assert 7 in known


def test_clear_forgets_all() -> None:
    known = Known(10)
    known.update([1])
    known.clear()
    assert 1 not in known
