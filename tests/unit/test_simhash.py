"""Simhash: the same as the plain definition, near for near texts, far for others; the index forgets and finds."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.simhash import WORDS_MAX, WORDS_MIN, Similar, distance, simhash

RANDOM = random.Random(5)
WORDS = ["".join(RANDOM.choices("abcdefghijklmno", k=RANDOM.randint(2, 9))) for _ in range(3_000)]
MASK = (1 << 64) - 1


def text(count: int, seed: int = 1) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def turned(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & MASK


def plain(words: list[str]) -> int:
    """The definition, bit by bit."""
    hashes = [int.from_bytes(blake2b(word.encode(), digest_size=8).digest()) for word in words]
    triples = zip(hashes, hashes[1:], hashes[2:], strict=False)
    shingles = [one ^ turned(two, 21) ^ turned(three, 42) for one, two, three in triples]
    bits = sum(1 << bit for bit in range(64) if 2 * sum(one >> bit & 1 for one in shingles) > len(shingles))
    return int.from_bytes(bits.to_bytes(8), signed=True)


@pytest.mark.parametrize("count", [WORDS_MIN, 17, 18, 100, 256, 257, 258, 259, 513, 1000, WORDS_MAX])
def test_it_is_the_plain_definition(count: int) -> None:
    assert simhash(text(count)) == plain(text(count).split())


@given(st.lists(st.text("abcxyz", min_size=1, max_size=6), min_size=WORDS_MIN, max_size=60))
def test_it_is_the_plain_definition_of_any_words(words: list[str]) -> None:
    assert simhash(" ".join(words)) == (plain(words) or 1)


def test_what_does_not_count() -> None:
    some = text(100)
    assert simhash(some.upper().replace(" ", "\n\t ")) == simhash(some)
    assert simhash(f"{text(WORDS_MAX)} and more") == simhash(text(WORDS_MAX))
    assert simhash("") == simhash(text(WORDS_MIN - 1)) == 0
    assert simhash("\ud800 " * 20) != 0


def test_text_without_spaces_is_taken_by_characters() -> None:
    chinese = "".join(chr(0x4E00 + RANDOM.randrange(3_000)) for _ in range(300))
    assert simhash(chinese) != 0
    assert distance(simhash(chinese), simhash(chinese[:-1])) < 8 < distance(simhash(chinese), simhash(chinese[::-1]))


def test_near_texts_are_near_and_others_far() -> None:
    base = text(2_000)
    near = [distance(simhash(base), simhash(base.replace(base.split()[at], "x", 1))) for at in range(0, 200, 10)]
    assert sorted(near)[len(near) // 2] <= 3
    assert min(distance(simhash(base), simhash(text(2_000, seed))) for seed in range(2, 60)) > 10


def test_distance() -> None:
    assert distance(0, -1) == 64
    assert distance(-1, -2) == 1
    assert distance(5, 5) == 0


def flipped(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return int.from_bytes((value & MASK).to_bytes(8), signed=True)


@pytest.mark.parametrize("bits", [(), (0,), (63,), (5, 6, 7), (0, 20, 40), (15, 31, 47)])
def test_a_near_one_is_found(bits: tuple[int, ...]) -> None:
    seen = Similar(bits=3, pages_max=10)
    assert seen.near("a.test", 0x1234_5678_9ABC_DEF0, "http://a.test/1") == ""
    other = flipped(0x1234_5678_9ABC_DEF0, *bits)
    assert seen.near("a.test", other, "http://a.test/2") == "http://a.test/1"


def test_every_pair_within_three_bits_is_found() -> None:
    for _ in range(200):
        seen, value = Similar(bits=3, pages_max=10), flipped(RANDOM.getrandbits(64))
        seen.near("a", value, "one")
        assert seen.near("a", flipped(value, *RANDOM.sample(range(64), 3)), "two") == "one"
        assert seen.near("a", flipped(value, *RANDOM.sample(range(64), 4)), "three") == ""


def test_fewer_bits_find_less() -> None:
    seen = Similar(bits=1, pages_max=10)
    seen.near("a", 1, "one")
    assert seen.near("a", 3, "two") == "one"
    assert seen.near("a", 7, "three") == ""


def test_other_hosts_and_the_page_itself_do_not_count() -> None:
    seen = Similar(bits=3, pages_max=10)
    assert seen.near("a", 5, "one") == seen.near("b", 5, "two") == seen.near("a", 5, "one") == ""
    assert seen.near("a", 4, "one") == ""  # the page again, a little changed
    assert seen.near("a", 4, "three") == "one"


def test_the_oldest_are_forgotten() -> None:
    seen = Similar(bits=0, pages_max=3)
    values = [1 << 50 | one << 30 for one in range(6)]
    assert [seen.near("a", value, f"p{value}") for value in values] == [""] * 6
    assert seen.near("a", values[0], "again") == ""
    assert seen.near("a", values[-1], "again") == f"p{values[-1]}"
    assert len(seen._order) == 3
    assert len(seen._tables) <= 12
