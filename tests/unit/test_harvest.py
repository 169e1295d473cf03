"""Harvest: what a spider gives is checked, named, bounded, and the same each time."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from crawler.codec import encode_message
from crawler.error import SettingsError, SpiderError
from crawler.harvest import Harvest, Limits, harvest
from crawler.model import Item, Request
from crawler.page import Page
from crawler.response import Response
from crawler.scope import Scope
from crawler.spider import Spider

URL = "http://h.example/a/b"
ALL = Scope(hosts=["*"])


def run(
    parse: Callable[[Page], Any],
    *,
    scope: Scope = ALL,
    request: Request | None = None,
    body: bytes = b"",
    **limits: int,
) -> Harvest:
    """Harvest one page with a spider that has this method, and another named detail."""

    class Mine(Spider):
        name = "mine"

        def parse(self, page: Page) -> Any:
            return parse(page)

        def detail(self, page: Page) -> Any:
            return [page.item("detail")]

        def _private(self, page: Page) -> None: ...

        number = 7

    request = request or Request(url=URL, depth=2)
    response = Response(
        url=request.url,
        status=200,
        headers={"Content-Type": "text/html"},
        body=body,
        fetched_at="2026-01-01T00:00:00.000Z",
    )
    return harvest(Mine(), Page(request, response), scope, Limits(**limits))


def refused(parse: Callable[[Page], Any], **options: Any) -> tuple[str, str]:
    with pytest.raises(SpiderError) as raised:
        run(parse, **options)
    return raised.value.reason, raised.value.detail


def test_messages_hold_items_by_kind() -> None:
    def parse(page: Page) -> Iterator[Item]:
        yield page.item("quote", text="a")
        yield page.item("author", "austen", name="Jane", born=1775)
        yield page.item("quote", text="b")

    found = run(parse)
    assert found.items == 3
    assert [message.kind for message in found.messages] == ["quote", "author"]
    quotes, authors = found.messages
    assert (quotes.url, quotes.spider, quotes.visit, quotes.fetched_at) == (URL, "mine", 0, "2026-01-01T00:00:00.000Z")
    assert [record.fields() for record in quotes.records] == [{"text": "a"}, {"text": "b"}]
    assert [record.fields() for record in authors.records] == [{"name": "Jane", "born": 1775}]


def ids(found: Harvest) -> list[str]:
    return [one for message in found.messages for one in (message.id, *(record.id for record in message.records))]


def test_ids_are_deterministic_and_distinct() -> None:
    def parse(page: Page) -> list[Item]:
        return [
            page.item("a"),
            page.item("a"),
            page.item("a", "0"),
            page.item("a", "#0"),
            page.item("b"),
            page.item("a.b"),
        ]

    first = ids(run(parse))
    assert first == ids(run(parse, request=Request(url=URL, depth=9, meta={"x": 1}, priority=3)))
    assert len(set(first)) == len(first) == 9
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in first)
    for other in (Request(url=URL, visit=1), Request(url=URL + "c"), Request(url=URL, method="POST", body=b"x")):
        assert not set(first) & set(ids(run(parse, request=other)))


def test_ids_never_change() -> None:
    """Stores hold them: another way to make them would store every item again."""
    found = run(lambda page: [page.item("page"), page.item("page", "k")], request=Request(url="http://example.com/"))
    print_ = -3572560413629663374
    expected = [f"page\n{print_}\n0\n{identity}" for identity in ("", "#0", "=k")]
    from hashlib import blake2b

    assert ids(found) == [blake2b(text.encode(), digest_size=16).hexdigest() for text in expected]


@pytest.mark.parametrize("given", [None, [], (), iter(()), set()])
def test_nothing_is_fine(given: object) -> None:
    assert run(lambda page: given) == Harvest()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (5, "returned int 5"),
        ("http://h.example/", "returned str"),
        ({"text": "a"}, "returned dict"),
        (Item("a", {}), "returned Item"),
        (Request(url=URL), "returned Request"),
        ([5], "yielded int 5"),
        ([{"text": "x" * 1000}], "yielded dict"),
        ([None], "yielded NoneType"),
        ([["nested"]], "yielded list"),
    ],
)
def test_nonsense_is_named(given: object, word: str) -> None:
    reason, detail = refused(lambda page: given)
    assert reason == "spider_yield"
    assert word in detail
    assert "Mine.parse" in detail
    assert len(detail) < 300


def test_async_methods_are_refused() -> None:
    async def coroutine() -> None: ...

    async def generator() -> Any:
        yield 1

    for given in (coroutine(), generator()):
        reason, detail = refused(lambda page, given=given: given)  # type: ignore[misc]
        assert reason == "spider_yield"
        assert "async" in detail


def test_an_exception_comes_with_its_traceback() -> None:
    def parse(page: Page) -> Iterator[Item]:
        yield page.item("a")
        raise ValueError("no price on " + page.url)

    reason, detail = refused(parse)
    assert reason == "spider_exception"
    assert "ValueError: no price on http://h.example/a/b" in detail
    assert "test_harvest.py" in detail


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), MemoryError(), StopIteration()])
def test_no_spider_ends_the_worker(error: BaseException) -> None:
    def parse(page: Page) -> None:
        raise error

    assert refused(parse)[0] == "spider_exception"


@pytest.mark.parametrize("name", ["missing", "_private", "__init__", "number", ""])
def test_the_method_must_exist(name: str) -> None:
    assert refused(lambda page: None, request=Request(url=URL, to=name))[0] == "spider_method"
    assert refused(lambda page: [page.follow("x", to=name)])[0] == "spider_method"


def test_another_method_gets_the_page() -> None:
    assert [message.kind for message in run(lambda page: None, request=Request(url=URL, to="detail")).messages] == [
        "detail"
    ]


class Money(msgspec.Struct):
    amount: int


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ((1, 2), [1, 2]),
        (Money(3), {"amount": 3}),
        (b"\x00", "AA=="),
        (float("nan"), None),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_what_json_can_hold_is_stored(value: object, stored: object) -> None:
    assert run(lambda page: [page.item("a", v=value)]).messages[0].records[0].fields() == {"v": stored}


@pytest.mark.parametrize("value", [object(), "\ud800", {("a",): object()}, [lambda: 1]])
def test_what_json_cannot_hold_is_named(value: object) -> None:
    reason, detail = refused(lambda page: [page.item("a", good=1, bad=value)])
    assert reason == "spider_item"
    assert "'bad'" in detail
    assert "'a'" in detail


@pytest.mark.parametrize("kind", ["", "a b", "log", "a..b", ".a", "a\n", "ä", 5, None])
def test_kinds_are_words(kind: Any) -> None:
    assert refused(lambda page: [Item(kind, {})])[0] == "spider_item"


def test_item_data_is_a_mapping() -> None:
    assert refused(lambda page: [Item("a", [1])])[0] == "spider_item"  # type: ignore[arg-type]


def test_a_key_repeated_on_a_page_counts_once() -> None:
    found = run(lambda page: [page.item("a", "k", n=1), page.item("a", "k", n=2), page.item("b", "k", n=3)])
    assert [message.records[0].fields() for message in found.messages] == [{"n": 1}, {"n": 3}]
    assert (found.items, found.skipped) == (2, {"duplicate_key": 1})


def test_found_requests_are_canonical_deeper_and_distinct() -> None:
    def parse(page: Page) -> Iterator[Request]:
        yield page.follow("x")
        yield page.follow("./x#again")
        yield Request(url="HTTP://H.example:80/a/../a/x")
        yield Request(url="HTTP://H.example/y#z", depth=77)
        yield Request(url="http://h.example/x", method="POST", body=b"1")
        yield Request(url="http://h.example/x", method="POST", body=b"2")
        yield page.follow("")

    found = run(parse)
    assert [(request.url, request.depth, request.body) for request in found.found] == [
        ("http://h.example/a/x", 3, b""),
        ("http://h.example/y", 3, b""),
        ("http://h.example/x", 3, b"1"),
        ("http://h.example/x", 3, b"2"),
    ]
    assert found.skipped == {}


def test_bad_urls_are_counted_by_reason() -> None:
    def parse(page: Page) -> Iterator[Request]:
        for url in (
            "mailto:a@h.example",
            "tel:1",
            "http://[",
            "http://u:p@h.example/",
            "/relative",
            "http://h.example/" + "a" * 60,
        ):
            yield Request(url=url)
        yield page.follow("javascript:x")

    found = run(parse, url_chars_max=60)
    assert found.found == ()
    assert found.skipped == {"scheme": 3, "not_a_url": 2, "credentials": 1, "too_long": 1}


@pytest.mark.parametrize(
    "request_",
    [
        Request(url=URL + "1", meta={"a": object()}),
        Request(url=URL + "1", priority=10),
        Request(url=URL + "1", priority=True),
        Request(url=URL + "1", priority="1"),  # type: ignore[arg-type]
        Request(url=URL + "1", headers=(("a", 1),)),  # type: ignore[arg-type]
        Request(url=URL + "1", body="text"),  # type: ignore[arg-type]
    ],
)
def test_requests_that_cannot_be_sent_are_errors(request_: Request) -> None:
    assert refused(lambda page: [request_])[0] == "spider_request"


def test_meta_comes_back_as_json_has_it() -> None:
    (request,) = run(lambda page: [page.follow("x", meta={"pair": (1, 2)})]).found
    assert request.meta == {"pair": [1, 2]}


def test_limits() -> None:
    def parse(page: Page) -> Iterator[Item | Request]:
        for number in range(5):
            yield page.item("a", n=number)
            yield page.follow(f"{number}")
            yield page.follow(f"{number}")

    found = run(parse, links_max=3, items_max=2)
    assert (len(found.found), found.items) == (3, 2)
    assert found.skipped == {"links_max": 4, "items_max": 3}


@pytest.mark.parametrize(
    ("hosts", "name", "admitted"),
    [
        (["h.example"], "h.example", True),
        (["h.example"], "h.example:8080", True),
        (["h.example:8080"], "h.example:8080", True),
        (["h.example:8080"], "h.example", False),
        (["h.example:80"], "h.example", True),
        (["H.Example"], "h.example", True),
        (["h.example"], "www.h.example", False),
        (["*.h.example"], "www.h.example", True),
        (["*.h.example"], "a.b.h.example", True),
        (["*.h.example"], "h.example", False),
        (["*.h.example"], "evilh.example", False),
        (["*.h.example:81"], "www.h.example:81", True),
        (["*.h.example:81"], "www.h.example", False),
        (["bücher.example"], "xn--bcher-kva.example", True),
        (["[::1]:8000"], "[::1]:8000", True),
        (["[::1]"], "[::1]:8000", True),
        (["127.0.0.1"], "127.0.0.1:8000", True),
        (["*"], "any.example:1", True),
        ([], "h.example", True),
        ([], "h.example:8080", False),
        ([], "other.example", False),
    ],
)
def test_scope_by_host(hosts: list[str], name: str, admitted: bool) -> None:
    scope = Scope(hosts=hosts)
    for _ in range(2):
        assert scope.admits(Request(url=f"http://{name}/"), from_host="h.example") is admitted


@pytest.mark.parametrize(
    ("include", "exclude", "path", "admitted"),
    [
        ([], [], "/x", True),
        (["^/shop/"], [], "/shop/1", True),
        (["^/shop/"], [], "/blog/shop/1", False),
        (["^/a", "^/b"], [], "/b", True),
        ([], [r"\.pdf$"], "/x.pdf", False),
        ([], [r"\.pdf$"], "/x.pdf?a", True),
        ([], [r"[?&]sort="], "/x?a=1&sort=up", False),
        (["^/shop/"], ["/cart"], "/shop/cart", False),
        ([], ["h.example"], "/x", True),
    ],
)
def test_scope_by_path(include: list[str], exclude: list[str], path: str, admitted: bool) -> None:
    scope = Scope(hosts=["h.example"], include=include, exclude=exclude)
    assert scope.admits(Request(url=f"http://h.example{path}"), from_host="") is admitted


def test_scope_by_depth() -> None:
    parse = lambda page: [page.follow("x")]  # noqa: E731
    assert run(parse, scope=Scope(hosts=["*"], depth_max=3)).skipped == {}
    assert run(parse, scope=Scope(hosts=["*"], depth_max=2)).skipped == {"depth": 1}
    assert run(parse, scope=Scope(hosts=["*"], depth_max=0)).skipped == {}


def test_out_of_scope_is_counted() -> None:
    body = b"<a href=x>1</a><a href=//other.example/>2</a><a href=//third.example/>3</a>"
    found = run(lambda page: page.follow_all(), scope=Scope(), body=body)
    assert [request.url for request in found.found] == ["http://h.example/a/x"]
    assert found.skipped == {"scope": 2}


@pytest.mark.parametrize(
    "options", [{"include": ["("]}, {"exclude": ["*"]}, {"hosts": ["http://h.example/"]}, {"hosts": [""]}]
)
def test_a_bad_pattern_is_a_settings_error(options: dict[str, list[str]]) -> None:
    with pytest.raises(SettingsError, match="scope"):
        Scope(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1_000, 5_000, 20_000])
def test_items_of_one_kind_that_are_too_large_together_bury_the_page(size: int) -> None:
    """The limit is on the message as it is sent; items of other kinds travel in another one."""
    text = "x" * 400

    def parse(count: int, kinds: int = 1) -> Callable[[Page], Any]:
        return lambda page: [page.item(f"kind{number % kinds}", text=text, n=number) for number in range(count)]

    fits = max(n for n in range(1, 60) if n * (400 + 100) + 400 < size)
    (message,) = run(parse(fits), message_bytes_max=size).messages
    assert len(encode_message(message)) <= size
    reason, detail = refused(parse(size // 400 + 1), message_bytes_max=size)
    assert (reason, str(size) in detail) == ("message_max", True)
    assert len(run(parse(2 * fits, 2), message_bytes_max=size).messages) == 2


def test_one_item_that_is_too_large() -> None:
    assert refused(lambda page: [page.item("a", text="x" * 2_000)], message_bytes_max=2_000)[0] == "message_max"
    assert refused(lambda page: [page.item("a", text="x" * 17_000_000)])[0] == "message_max"


def test_the_largest_message_is_not_larger_than_the_limit() -> None:
    for length in range(500, 700, 7):
        try:
            (message,) = run(
                lambda page, length=length: [page.item("a", text="x" * length)], message_bytes_max=1_000
            ).messages
        except SpiderError:
            continue
        assert len(encode_message(message)) <= 1_000


def test_a_kind_fits_a_routing_key() -> None:
    assert run(lambda page: [page.item("k" * 255)]).items == 1
    assert refused(lambda page: [page.item("k" * 256)])[0] == "spider_item"
