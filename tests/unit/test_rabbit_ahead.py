"""How many messages a broker may send ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.exchange.rabbit.ahead import AHEAD_BYTES_MAX, FIRST, MEMORY, Ahead

MB = 1_000_000


def after(ahead: Ahead, sizes: list[int]) -> int:
    for size in sizes:
        ahead.came(size)
        ahead.now = ahead.wanted()
    return ahead.now


def test_few_before_their_size_is_known() -> None:
    assert Ahead(400).now == FIRST
    assert Ahead(7).now == 7


@pytest.mark.parametrize(
    ("size", "now"),
    [(0, 400), (1_000, 400), (37_000, 400), (300_000, 400), (MB, 128), (10 * MB, FIRST), (30 * MB, 4), (500 * MB, 1)],
)
def test_as_many_as_there_is_room_for(size: int, now: int) -> None:
    assert after(Ahead(400), [size] * FIRST) == now


def test_it_shrinks_as_soon_as_messages_grow_and_grows_again() -> None:
    ahead = Ahead(400)
    assert after(ahead, [1_000] * FIRST) == 400
    assert after(ahead, [16 * MB] * 3) < 200
    assert after(ahead, [16 * MB] * 10 * MEMORY) in range(8, 16)
    assert after(ahead, [1_000] * 20 * MEMORY) == 400


def test_it_stays_where_it_is_right_within_a_factor_of_two() -> None:
    ahead = Ahead(400)
    assert after(ahead, [MB] * FIRST) == 128
    assert after(ahead, [MB * 3 // 4] * 9 * MEMORY) == 128
    assert after(ahead, [MB * 3 // 2] * 9 * MEMORY) == 128
    assert after(ahead, [MB * 3] * 9 * MEMORY) in range(42, 84)


@given(st.integers(1, 65_535), st.lists(st.integers(0, 100 * MB), min_size=1, max_size=200))
def test_never_none_never_more_than_allowed(most: int, sizes: list[int]) -> None:
    ahead = Ahead(most)
    for size in sizes:
        ahead.came(size)
        ahead.now = ahead.wanted()
        assert 1 <= ahead.now <= most


@given(st.integers(1, 65_535), st.integers(1, 100 * MB))
def test_of_one_size_it_is_within_twice_the_bytes(most: int, size: int) -> None:
    now = after(Ahead(most), [size] * 5)
    assert now == 1 or now * size < 2 * AHEAD_BYTES_MAX
    assert 2 * now > min(most, AHEAD_BYTES_MAX // size)
