"""Shapes of URLs, and the budgets of shapes that bring nothing new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.error import SettingsError
from crawler.shape import repeats, shape_of
from crawler.tables_web import TrapsTable
from crawler.trap import Traps
from crawler.url import canonical

YEAR = 2026
HEX = "8f3a91c2d4e5f6a78f3a91c2d4e5f6a7"


@pytest.mark.parametrize(
    ("path", "kind", "key"),
    [
        ("/item/12345?page=2", "plain", "/item/{n}?page={n}"),
        ("/2026/05/13/a-slug", "plain", "/{n}/{n}/{n}/a-slug"),
        ("/a/c/b/a/d/c?x=y/z", "plain", "/a/{deep}"),
        ("/v1.2/x.html", "plain", "/v{n}.{n}/x.html"),
        ("/2026/05/", "calendar", "/{date}/{date}/"),
        ("/2026/5/13", "calendar", "/{date}/{date}/{date}"),
        ("/calendar/173", "calendar", "/calendar/{n}"),
        ("/x?month=5&year=2026", "calendar", "/x?month={n}&year={n}"),
        ("/x?from=2026-05-13", "calendar", "/x?from={date}"),
        ("/archive/2026-05", "calendar", "/archive/{date}"),
        ("/x?week=2026-W07", "calendar", "/x?week={date}"),
        (f"/p1?PHPSESSID={HEX}", "session", "/p1?PHPSESSID={session}"),
        ("/p1;jsessionid=0A1B?q=7", "session", "/p1;jsessionid={session}?q=7"),
        ("/(S(lit3py55t21z5v55vlm25s55))/p1", "session", "/{session}/p1"),
        ("/p1?sid=17", "session", "/p1?sid={session}"),
        (f"/s/{HEX}/p7", "token", "/s/{token}/p7"),
        ("/x/f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "token", "/x/{token}"),
        ("/2026/05/?sid=17", "calendar", "/{date}/{date}/?sid={session}"),
    ],
)
def test_shapes(path: str, kind: str, key: str) -> None:
    shape = shape_of(f"http://h.example{path}", YEAR)
    assert shape is not None
    assert (shape.kind, shape.key) == (kind, f"http://h.example{key}")


@pytest.mark.parametrize("path", ["/", "/a/b/c/d?x=/e/f", "/library/os.path.html", "/a?b=c", "/abcdefabcdefabcdef"])
def test_without_a_digit_there_is_none(path: str) -> None:
    assert shape_of(f"http://h1.example{path}", YEAR) is None


@pytest.mark.parametrize(
    ("path", "far"),
    [
        ("/calendar/2031/05", False),
        ("/calendar/2032/05", True),
        ("/calendar/1969/05", True),
        ("/calendar?month=12", False),
        ("/calendar?month=13", True),
        ("/x?date=2099-01-01", True),
        ("/calendar/999", False),
        ("/calendar/123456", True),
        ("/item/123456", False),
    ],
)
def test_dates_at_which_nothing_happens(path: str, far: bool) -> None:
    shape = shape_of(f"http://h.example{path}", YEAR)
    assert shape is not None
    assert shape.far is far


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/b/a/b/a/b/a/b", "a/b"),
        ("/x/a/b/a/b/a/b/a/b/y", "a/b"),
        ("/a/a/a/a/", "a"),
        ("/a/b/a/b/a/b", ""),
        ("/a/x/a/y/a/z/a", ""),
        ("/////////", ""),
        ("/?a/a/a/a/a", ""),
    ],
)
def test_repeats(path: str, found: str) -> None:
    assert repeats(f"http://h.example{path}", 3) == found


def refused_after(traps: Traps, url: str, text: str, links: str, most: int) -> int:
    """How many pages of a series were let through. `{}` is the number of the page."""
    for number in range(most):
        one = url.format(number)
        sight = traps.judge(one, depth=1)
        if sight.refusal:
            return number
        traps.saw(sight, lambda number=number: text.format(number), [link.format(number) for link in links.split()])  # type: ignore[misc]
    return most


H = "http://h.example"


@pytest.mark.parametrize(
    ("url", "text", "links", "least", "most"),
    [
        (f"{H}/item/{{}}", "item {}", "", 3_000, 3_000),
        (f"{H}/item/{{}}", "the same", f"{H}/other/{{}}", 3_000, 3_000),
        (f"{H}/item/{{}}", "the same", f"{H}/item/1{{}}", 1_000, 1_010),
        (f"{H}/calendar/{{}}", "day {}", f"{H}/calendar/1{{}} {H}/", 30, 40),
        (f"{H}/calendar/{{}}", "day {}", f"{H}/event/{{}}", 500, 500),
        (f"{H}/x?sid={{}}", "hello, visitor {}", f"{H}/y?sid={{}}", 3, 6),
        (f"{H}/x?sid={{}}", "hello", f"{H}/story-{{}}", 500, 500),
        (f"{H}/s/{HEX}{{}}a/p7", "hello", f"{H}/s/{HEX}1{{}}a/p8", 3, 6),
        (f"{H}/commit/{HEX}{{}}a", "change {}", "", 500, 500),
    ],
)
def test_series(url: str, text: str, links: str, least: int, most: int) -> None:
    assert least <= refused_after(Traps(TrapsTable(), YEAR), url, text, links, 3_000 if most > 500 else 500) <= most


def test_relative_links_that_pile_up() -> None:
    """A site that answers every path below one, with a menu of relative links: `a/` means one more segment each time,
    and what results repeats nothing in a row."""
    traps, menu = Traps(TrapsTable(), YEAR), [f"{name}/" for name in ("shop", "about", "news", "help", "jobs")]
    queue, seen = [f"{H}/index/"], 0
    while queue and seen < 5_000:
        url = queue.pop(0)
        sight = traps.judge(url, depth=1)
        if not sight.refusal:
            seen += 1
            links = [url + name for name in menu]
            traps.saw(sight, lambda: "the same page again", links)
            queue += links
    assert not queue
    assert seen < 2_000


def test_deep_paths_with_something_new_are_no_trap() -> None:
    traps = Traps(TrapsTable(budget_max=10), YEAR)
    letters = str.maketrans("0123456789", "abcdefghij")
    names = [str(number).translate(letters) for number in range(500)]
    for name in names:
        sight = traps.judge(f"{H}/docs/a/b/c/d/{name}", depth=1)
        assert not sight.refusal
        traps.saw(sight, lambda name=name: name, [])  # type: ignore[misc]


def test_new_content_gives_the_budget_back() -> None:
    traps = Traps(TrapsTable(calendar_budget_max=10), YEAR)
    assert refused_after(traps, H + "/calendar/{}", "same", "", 9) == 9
    for word in ("alder", "birch", "cedar", "elm", "fir"):
        traps.saw(traps.judge(f"{H}/calendar/7", depth=1), lambda word=word: word, [])  # type: ignore[misc]
    assert 4 <= refused_after(traps, H + "/calendar/{}", "same", "", 100) <= 8


def test_far_away_words_alone_are_nothing_new() -> None:
    traps = Traps(TrapsTable(), YEAR)
    letters = str.maketrans("0123456789", "abcdefghij")
    for number in range(100):
        sight = traps.judge(f"{H}/calendar/{2040 + number}/05", depth=1)
        if sight.refusal:
            break
        traps.saw(sight, lambda number=number: f"wisdom {number}".translate(letters), [f"{H}/calendar/2041/05"])  # type: ignore[misc]
    assert 30 <= number <= 32
    assert "calendar: 30 more of the shape http://h.example/calendar/{date}/{date} brought nothing new" in sight.refusal


@pytest.mark.parametrize(
    ("table", "depth"),
    [(TrapsTable(enabled=False), 1), (TrapsTable(allow=("^/a/",)), 1), (TrapsTable(repeats_max=10), 1)],
)
def test_what_is_let_through(table: TrapsTable, depth: int) -> None:
    url = f"{H}/a/b/a/b/a/b/a/b"
    assert Traps(TrapsTable(), YEAR).judge(url, depth=1).refusal
    assert not Traps(table, YEAR).judge(url, depth=depth).refusal


def test_a_seed_spends_nothing_and_is_never_refused() -> None:
    traps = Traps(TrapsTable(calendar_budget_max=1), YEAR)
    assert refused_after(traps, H + "/calendar/{}", "same", "", 50) < 10
    assert traps.judge(f"{H}/calendar/8", depth=1).refusal
    assert not traps.judge(f"{H}/calendar/8", depth=0).refusal


def test_memory_is_bounded() -> None:
    traps = Traps(TrapsTable(shapes_max=100), YEAR)
    for number in range(1_000):
        traps.saw(traps.judge(f"{H}/p{number}?sid=1", depth=1), lambda: "x", [])
    assert len(traps._states) == 100


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"\[traps\] allow"):
        Traps(TrapsTable(allow=("(",)), YEAR)


@given(st.text("aS0123456789/;?&=.()-_%fW", max_size=80))
def test_any_url_has_a_shape_or_none(tail: str) -> None:
    url = canonical(f"http://h.example/{tail}")
    shape = shape_of(url, YEAR)
    assert shape is None or shape.key.startswith("http://h.example/")
    assert isinstance(repeats(url, 1), str)
