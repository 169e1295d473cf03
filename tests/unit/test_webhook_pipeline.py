"""The webhook, against a real server that answers as it is told and keeps what it got."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import SettingsError
from crawler.model import Message, Record
from pipelines import Reject, Unavailable
from pipelines.webhook import Webhook
from tests.servers.certificates import make_certificates


def message(number: int, size: int = 0) -> Message:
    return Message(
        id=f"m{number}",
        kind="quote",
        url=f"https://example.com/{number}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="test",
        records=tuple(
            Record(f"i{number}-{at}", msgspec.Raw(b'{"n":%d,"x":"%s"}' % (number, b"x" * size))) for at in (0, 1)
        ),
    )


class Server:
    """Answers with the next of `answers` (status, headers, body), else as `judge` says, else 200."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], str]] = []
        self.judge: Any = lambda items: 200
        self.got: list[list[dict[str, Any]]] = []
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.hang_up = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if server.hang_up:
                    server.hang_up -= 1
                    self.close_connection = True
                    return
                items = json.loads(body)
                server.bodies.append(body)
                server.heads.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, text = (
                    server.answers.pop(0) if server.answers else (server.judge(items), {}, "said so")
                )
                if 200 <= status < 300:
                    server.got.append(items)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/hook?a=1"

    def ids(self) -> list[str]:
        return [item["id"] for items in self.got for item in items]


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def store(server: Server, *numbers: int, **options: Any) -> Webhook:
    hook = Webhook(url=server.url, **options)
    hook.store([message(number) for number in numbers])
    return hook


def expected(*numbers: int) -> list[str]:
    return [f"i{number}-{at}" for number in numbers for at in (0, 1)]


def test_a_batch_is_an_array_of_items(server: Server) -> None:
    store(server, 1, 2, headers={"X-Team": "data"}).close()
    assert server.ids() == expected(1, 2)
    assert server.got[0][0] == {
        "id": "i1-0",
        "kind": "quote",
        "url": "https://example.com/1",
        "fetched_at": "2026-01-31T12:00:00.000Z",
        "spider": "test",
        "data": {"n": 1, "x": ""},
    }
    assert server.heads[0]["content-type"] == "application/json"
    assert server.heads[0]["x-team"] == "data"
    assert "webhook-signature" not in server.heads[0]


def test_messages_without_items_are_not_posted(server: Server) -> None:
    hook = Webhook(url=server.url)
    hook.store([msgspec.structs.replace(message(1), records=())])
    assert server.heads == []
    hook.store([msgspec.structs.replace(message(1), records=()), message(2)])
    hook.close()
    assert server.ids() == expected(2)


def test_requests_are_cut_by_messages_and_bytes_and_share_a_connection(server: Server) -> None:
    hook = store(server, *range(7), post_max=3)
    assert [len(items) for items in server.got] == [6, 6, 2]
    hook.close()
    hook = Webhook(url=server.url, bytes_max=10_000)
    hook.store([message(number, size=2_000) for number in range(10, 14)])
    hook.close()
    assert [len(items) for items in server.got[3:]] == [4, 4]
    assert server.connections == 2


def test_the_key_is_stable_and_of_the_messages(server: Server) -> None:
    for numbers in ((1, 2), (1, 2), (1,), (2, 1)):
        store(server, *numbers).close()
    keys = [head["idempotency-key"] for head in server.heads]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("secret", "key"), [("topsecret", b"topsecret"), ("whsec_" + base64.b64encode(b"\0\1bytes").decode(), b"\0\1bytes")]
)
def test_signature_of_standard_webhooks(server: Server, secret: str, key: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{secret}\nnot this\n")
    store(server, 1, secret=secret).close()
    store(server, 1, secret_file=str(tmp_path / "secret")).close()
    for head, body in zip(server.heads, server.bodies, strict=True):
        assert head["webhook-id"] == head["idempotency-key"]
        assert abs(int(head["webhook-timestamp"]) - time.time()) < 60
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
        want = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        assert head["webhook-signature"] == f"v1,{want}"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 507])
def test_a_receiver_in_trouble_is_waited_for(server: Server, status: int) -> None:
    server.answers = [(status, {}, "")]
    hook = Webhook(url=server.url)
    with pytest.raises(Unavailable, match=f"answered {status}"):
        hook.store([message(1)])
    hook.store([message(1)])
    hook.close()
    assert server.ids() == expected(1)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 410])
def test_a_wrong_url_or_secret_is_waited_for_and_told(server: Server, status: int) -> None:
    server.answers = [(status, {"Location": f"{server.url}&moved"}, "")]
    hook = Webhook(url=server.url)
    with pytest.raises(Unavailable, match=f"answered {status}.*url"):
        hook.store([message(1)])
    hook.close()
    assert len(server.heads) == 1


@pytest.mark.parametrize("after", ["100", "date"])
def test_retry_after_is_honoured(server: Server, after: str) -> None:
    value = formatdate(time.time() + 100, usegmt=True) if after == "date" else after
    server.answers = [(429, {"Retry-After": value}, "")]
    hook = Webhook(url=server.url)
    with pytest.raises(Unavailable, match=r"to wait (99|100) s"):
        hook.store([message(1)])
    with pytest.raises(Unavailable, match=r"asked to wait: (98|99|100) s are left"):
        hook.store([message(1)])
    hook.close()
    assert len(server.heads) == 1


def test_a_bad_message_is_found_and_the_others_are_stored_once(server: Server) -> None:
    server.judge = lambda items: 422 if any(item["data"]["n"] in (3, 6) for item in items) else 201
    hook = Webhook(url=server.url, post_max=8)
    with pytest.raises(Reject, match="http_422: said so") as refused:
        hook.store([message(number) for number in range(10)])
    assert refused.value.ids == {"m3", "m6"}
    hook.store([message(number) for number in range(10) if number not in (3, 6)])
    hook.close()
    assert sorted(server.ids()) == expected(0, 1, 2, 4, 5, 7, 8, 9)


def test_what_is_too_large_is_split(server: Server) -> None:
    server.judge = lambda items: 413 if len(items) > 4 or any(item["id"] == "i5-0" for item in items) else 200
    hook = Webhook(url=server.url)
    with pytest.raises(Reject, match="http_413") as refused:
        hook.store([message(number) for number in range(6)])
    hook.close()
    assert refused.value.ids == {"m5"}
    assert sorted(server.ids()) == expected(0, 1, 2, 3, 4)


def test_after_an_outage_in_the_middle_what_was_accepted_is_not_posted_again(server: Server) -> None:
    hook = Webhook(url=server.url, post_max=2)
    server.answers = [(200, {}, ""), (503, {}, "")]
    with pytest.raises(Unavailable):
        hook.store([message(number) for number in range(6)])
    hook.store([message(number) for number in range(6)])
    hook.store([message(0)])  # delivered again, by another consumer's death: at least once
    hook.close()
    assert server.ids() == [*expected(*range(6)), *expected(0)]


def test_a_connection_that_was_closed_meanwhile_is_opened_again(server: Server) -> None:
    hook = store(server, 1)
    server.hang_up = 1
    hook.store([message(2)])
    server.hang_up = 2
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        hook.store([message(3)])
    hook.store([message(3)])
    hook.close()
    assert server.ids() == expected(1, 2, 3)


def test_nobody_there_and_no_answer_in_time() -> None:
    server = Server()
    with serving(server):
        pass
    hook = Webhook(url=server.url)
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        hook.store([message(1)])
    silent = Server()  # listens, and never answers
    hook = Webhook(url=silent.url, timeout_s=0.1)
    with pytest.raises(Unavailable, match="TimeoutError"):
        hook.store([message(1)])
    hook.close()
    silent.http.server_close()


def test_a_long_answer_is_not_read_to_its_end(server: Server) -> None:
    server.answers = [(400, {}, "é" + "x" * 500_000), (200, {}, "y" * 500_000)]
    hook = Webhook(url=server.url)
    with pytest.raises(Reject) as refused:
        hook.store([message(1)])
    assert len(refused.value.reason) < 250
    hook.store([message(2)])
    hook.store([message(3)])
    hook.close()
    assert server.ids() == expected(2, 3)


def test_tls(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    with serving(server):
        url = server.url.replace("http:", "https:")
        hook = Webhook(url=url, ca_file=str(tmp_path / "ca.crt"))
        hook.store([message(1)])
        hook.close()
        stranger = Webhook(url=url)
        with pytest.raises(Unavailable, match="certificate"):
            stranger.store([message(2)])
        stranger.close()
    assert server.ids() == expected(1)


def test_a_password_in_the_url_is_sent_and_never_shown(server: Server) -> None:
    hook = Webhook(url=server.url.replace("//", "//me:p%40ss@"))
    server.answers = [(500, {}, "")]
    with pytest.raises(Unavailable) as error:
        hook.store([message(1)])
    hook.close()
    assert base64.b64decode(server.heads[0]["authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert "ss" not in str(error.value)
    assert "a=1" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x"}, "url must be"),
        ({"url": "x"}, "url must be"),
        ({"url": "http://x:99999999"}, "url must be"),
        ({"url": "http://x", "post_max": 0}, "above 0"),
        ({"url": "http://x", "secret": "whsec_?"}, "not base64"),
        ({"url": "http://x", "secret_file": "/nowhere/secret"}, "cannot be read"),
        ({"url": "https://x", "ca_file": "/nowhere/ca"}, "ca_file"),
        ({"url": "http://x", "headers": {"A": "b\nc: d"}}, "cannot be sent"),
        ({"url": "http://x", "headers": {"A": 1}}, "cannot be sent"),
        ({"url": "http://x", "headers": {"A": "ż"}}, "cannot be sent"),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Webhook(**options)
