"""A site whose pages change, stay, go and come, each in a way of its own; it keeps what it was asked."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

STAMP = "Sat, 01 Nov 2025 10:00:00 GMT"
FRESH_TOKEN = "<!-- {count} -->"

PAGES = ("etag", "dated", "same", "token", "news", "gone")
"""etag, dated: answer 304 to who knows them; same: always the same bytes; token: other bytes, the same content;
news: new content each time; gone: 410 from the second time on."""


class Changing:
    """`with Changing() as site`: a server in threads of its own."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path, and headers with names in lower case."""
        self.times: Counter[str] = Counter()
        self.types: dict[str, str] = {}
        """Content types of single pages; empty: none is sent."""
        self.texts: dict[str, str] = {}
        """Texts of single pages."""
        self.redirects: dict[str, str] = {}
        """Pages that are redirects, and where to."""
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site._answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, path: str) -> list[dict[str, str]]:
        """Headers of the requests for a path, in order."""
        return [headers for _, asked, headers in self.asked if asked == path]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, headers = handler.path, {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append((handler.command, path, headers))
        self.times[path] += 1
        status, added, body = self._page(path, headers)
        data = body.encode()
        handler.send_response(status)
        for name, value in ({"Content-Type": "text/html; charset=utf-8"} | added).items():
            if value:
                handler.send_header(name, value)
        if status != 304:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD" and status != 304:
            handler.wfile.write(data)

    def _page(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
        count, name = self.times[path], path[1:]
        if name in ("robots.txt", "missing"):
            return 404, {}, ""
        if name in self.redirects:
            return 302, {"Location": self.redirects[name]}, ""
        if name == "":
            return 200, {"ETag": '"index"'}, "".join(f'<a href="/{page}">{page}</a>' for page in PAGES)
        if name == "etag" and headers.get("if-none-match") == '"v1"':
            return 304, {"ETag": '"v1"'}, ""
        if name == "dated" and headers.get("if-modified-since") == STAMP:
            return 304, {}, ""
        if name == "gone" and count > 1:
            return 410, {}, "gone"
        added = {"etag": {"ETag": '"v1"'}, "dated": {"Last-Modified": STAMP}}.get(name, {})
        if name in self.types:
            added = {**added, "Content-Type": self.types[name]}
        text = {"token": FRESH_TOKEN.format(count=count), "news": f"news number {count}", **self.texts}.get(name, "")
        return 200, added, f"<title>{name}</title><p>{name} {text}</p>"
