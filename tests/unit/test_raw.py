"""Raw pages: which responses become messages, under which ids, and where a body is cut off."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from crawler.codec import decode_message, encode_message
from crawler.model import RAW_KIND, Bury, Done, Lease, Message, RawHead, Request
from crawler.raw import ENVELOPE_BYTES, Take, messages
from crawler.url import fingerprint

URL = "http://h.example/a"
LIMIT = 100_000


def lease(url: str = URL, *, visit: int = 0, robots: bool = False, robots_ms: int = 0) -> Lease:
    request = Request(url=url, depth=3, visit=visit)
    return Lease(
        token="t", request=request, fingerprint=fingerprint(request), host="h", robots=robots, robots_ms=robots_ms
    )


def take(request: Request, *, body: bytes = b"body", status: int = 200, whole: bool = True) -> Take:
    made = Take(request=request)
    made.begin(
        target="/a",
        request_headers=(("Host", "h.example"), ("Cookie", "secret"), ("AUTHORIZATION", "Basic secret")),
        version="1.1",
        status=status,
        phrase="OK",
        headers=(("Server", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
    )
    made.feed(body[:2])
    made.feed(b"")
    made.feed(body[2:])
    made.end(0.25, whole=whole)
    return made


def of(ended: Done | Bury, *takes: Take, limit: int = LIMIT, held: Lease | None = None) -> tuple[Message, ...]:
    return messages(takes, held or lease(), ended, spider="s", message_bytes_max=limit)


def head(message: Message) -> RawHead:
    return msgspec.json.decode(message.records[0].data, type=RawHead)


def test_a_page() -> None:
    (message,) = of(Done(), take(lease().request))
    assert (message.kind, message.url, message.spider, message.blob) == (RAW_KIND, URL, "s", b"body")
    assert message.records[0].id == message.id
    assert message.fetched_at.endswith("Z")
    found = head(message)
    assert (found.fingerprint, found.depth, found.seconds, found.truncated) == (lease().fingerprint, 3, 0.25, "")
    assert found.headers == (("Server", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    assert decode_message(encode_message(message)) == message


def test_secrets_stay_with_who_sent_them() -> None:
    made = take(lease().request)
    assert made.request_headers == (("Host", "h.example"), ("Cookie", ""), ("AUTHORIZATION", ""))
    assert b"secret" not in encode_message(*of(Done(), made))


def test_what_was_not_answered_gives_nothing() -> None:
    assert of(Bury("dns"), Take(request=lease().request)) == ()


@pytest.mark.parametrize("held", [lease(robots=True), lease(robots_ms=5)])
def test_robots_were_obeyed(held: Lease) -> None:
    assert head(of(Done(), take(held.request), held=held)[0]).robots
    assert not head(of(Done(), take(lease().request))[0]).robots


def test_an_id_names_page_visit_and_ending() -> None:
    """The bytes do not count: of two fetches of one page by two workers the first is kept, as of its items."""
    again = of(Done(), take(lease().request, body=b"another"))[0]
    same = of(Done(), take(lease().request))[0]
    assert again.id == same.id
    others = [
        same,
        of(Done("redirect"), take(lease().request))[0],
        of(Bury("http_404"), take(lease().request, status=404))[0],
        of(Done(), take(lease().request), held=lease(visit=1))[0],
        of(Done(), take(Request(url="http://h.example/b")), held=lease("http://h.example/b"))[0],
    ]
    assert all(one.id != other.id for one, other in itertools.combinations(others, 2))


def test_followed_redirects_are_messages_of_their_own() -> None:
    first = Request(url="http://h.example/robots.txt")
    second = Request(url="http://h.example/real.txt", redirected_from=(first.url,))
    held = lease(first.url, robots=True)
    hop, last = of(Done("robots.txt"), take(first, status=301), take(second), held=held)
    assert [head(one).fingerprint for one in (hop, last)] == [held.fingerprint, fingerprint(second)]
    assert [head(one).via for one in (hop, last)] == ["", first.url]
    assert [hop.url, last.url] == [first.url, second.url]
    (alone,) = of(Done("redirect"), take(first, status=301), held=held)
    assert alone.id == hop.id
    begun_again = [take(first, status=301), Take(request=second), take(first, status=301), take(second)]
    assert [one.id for one in of(Done("robots.txt"), *begun_again, held=held)] == [hop.id, last.id]


@pytest.mark.parametrize(
    ("reason", "whole", "truncated"),
    [
        ("", True, ""),
        ("body_max", False, "length"),
        ("content_type", False, "length"),
        ("timeout_total", False, "time"),
        ("reset", False, "disconnect"),
        ("timeout_total", True, ""),
    ],
)
def test_why_a_body_is_not_whole(reason: str, whole: bool, truncated: str) -> None:
    (message,) = of(Bury(reason), take(lease().request, whole=whole))
    assert head(message).truncated == truncated


@pytest.mark.parametrize("size", [LIMIT // 2, LIMIT - 2 * ENVELOPE_BYTES, LIMIT, 3 * LIMIT])
def test_a_body_is_cut_off_where_the_message_would_be_too_large(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    (message,) = of(Done(), take(lease().request, body=body[:size]))
    assert len(encode_message(message)) <= LIMIT
    assert body.startswith(message.blob)
    assert head(message).truncated == ("length" if size >= LIMIT else "")
    assert len(message.blob) == size or len(message.blob) > LIMIT - 2 * ENVELOPE_BYTES


def test_a_repeated_request_forgets_the_answer_before() -> None:
    made = take(lease().request, body=b"half", whole=False)
    made.begin(target="/a", request_headers=(), version="1.0", status=404, phrase="", headers=())
    made.end(0.1, whole=True)
    (message,) = of(Bury("http_404"), made)
    assert (message.blob, head(message).status, head(message).truncated) == (b"", 404, "")
