"""Who gets what: tables."""

from __future__ import annotations

import pytest

from crawler.exchange import routing
from crawler.exchange.routing import Router, matches, targets


@pytest.mark.parametrize(
    ("pattern", "kind", "taken"),
    [
        ("page", "page", True),
        ("page", "pages", False),
        ("page", "page.x", False),
        ("*", "page", True),
        ("*", "shop.book", False),
        ("*", "", False),
        ("#", "", True),
        ("#", "page", True),
        ("#", "a.b.c", True),
        ("shop.*", "shop.book", True),
        ("shop.*", "shop", False),
        ("shop.*", "shop.book.used", False),
        ("shop.#", "shop", True),
        ("shop.#", "shop.book.used", True),
        ("shop.#", "shopping", False),
        ("#.news", "news", True),
        ("#.news", "a.b.news", True),
        ("#.news", "news.a", False),
        ("*.news", "news", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.b.c", False),
        ("a.#.b.#", "a.x.b.y.z", True),
        ("#.#", "", True),
        ("#.*", "", False),
        ("#.*.#", "a.b.c", True),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("", "", True),
        ("", "page", False),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("a.b", "A.B", False),
        (".", "a.b", False),
    ],
)
def test_topic_patterns(pattern: str, kind: str, taken: bool) -> None:
    assert matches(pattern, kind) is taken


def test_a_pattern_of_many_hashes_is_cheap() -> None:
    assert not matches(".".join(["#", "a"] * 60), ".".join(["a"] * 59 + ["b"]))


QUEUES = {
    "all": ("#",),
    "books": ("shop.book", "book"),
    "shop": ("shop.*",),
    "none": (),
    "history": ("#",),
}


@pytest.mark.parametrize(
    ("exchange_type", "kind", "expected"),
    [
        ("fanout", "shop.book", ("all", "books", "shop", "none")),
        ("fanout", "log", ("history",)),
        ("direct", "shop.book", ("books",)),
        ("direct", "#", ("all",)),
        ("direct", "toy", ()),
        ("direct", "log", ("history",)),
        ("topic", "shop.book", ("all", "books", "shop")),
        ("topic", "shop.toy", ("all", "shop")),
        ("topic", "book", ("all", "books")),
        ("topic", "log", ("history",)),
        ("topic", "log.x", ("all",)),
    ],
)
def test_targets(exchange_type: routing.ExchangeType, kind: str, expected: tuple[str, ...]) -> None:
    assert targets(exchange_type, QUEUES, kind) == expected


def test_log_goes_nowhere_without_a_history_queue() -> None:
    assert targets("topic", {"all": ("#", "log")}, "log") == ()


def test_a_router_remembers_a_bounded_number_of_kinds() -> None:
    router = Router("topic", QUEUES)
    for number in range(2 * routing.ROUTES_MAX + 1):
        assert router.targets(f"shop.{number}") == ("all", "shop")
    assert len(router._routes) <= routing.ROUTES_MAX
