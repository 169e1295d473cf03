"""A crawl into compressed files by kind and day, with processors before a store, by the real command."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
GUARD_S = 120
PAGES = 60

SETTINGS = """
[politeness]
delay_s = 0
per_host = 0
robots = false
[pipelines.all]
use = "pipelines.jsonl:JsonLines"
path = "out/{kind}-{date}.jsonl.gz"
rotate_bytes = 500
batch_max = 8
[pipelines.titles]
use = "pipelines.csv:Csv"
path = "titles.csv.zst"
processors = [
    { use = "drop", where = { title = "title 0" } },
    { use = "deduplicate", key = ["title"] },
    { use = "keep", fields = ["title"] },
]
"""


class Pages(BaseHTTPRequestHandler):
    """Each of `PAGES` pages links to the next three; there are ten titles."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        number = int(self.path[1:] or 0)
        links = "".join(f'<a href="/{(number + step) % PAGES or ""}">x</a>' for step in (1, 2, 3))
        body = f"<html><title>title {number % 10}</title>{links}</html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def crawler(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crawler", *words, "--settings", "shop.toml"]
    return subprocess.run(command, cwd=home, env=ENVIRON, capture_output=True, text=True, timeout=GUARD_S)


def urls(folder: Path) -> list[str]:
    return [
        json.loads(line)["url"]
        for path in sorted(folder.glob("page-*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def titles(path: Path) -> list[dict[str, str]]:
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as reader:
        return list(csv.DictReader(io.StringIO(reader.read().decode(), newline="")))


def test_stores_of_the_settings(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SETTINGS)
    for turn, words in enumerate((("run", url), ("run", url), ("run", url, "--fresh"))):
        done = crawler(tmp_path, *words, "--state", "shop.db")
        assert done.returncode == 0, done.stderr
        assert ("already finished" in done.stdout) is (turn == 1)
        found = urls(tmp_path / "out")
        assert len(found) == PAGES
        assert set(found) == {f"{url}{number or ''}" for number in range(PAGES)}
        assert len(list((tmp_path / "out").glob("page-*-000*.jsonl.gz"))) >= 2
        rows = titles(tmp_path / "titles.csv.zst")
        assert sorted(row["title"] for row in rows) == [f"title {number}" for number in range(1, 10)]
        assert {row["extra"] for row in rows} == {""}
    assert len(list(tmp_path.glob("shop.db.titles-*.keys"))) == 1
    assert crawler(tmp_path, "rm", "shop.db", "--outputs", "--yes").returncode == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("-lock")] == [
        "shop.toml"
    ]


def test_a_processor_that_is_wrong_is_told_before_anything_starts(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SETTINGS.replace('key = ["title"]', 'keys = ["title"]'))
    for words in (("run", url), ("check",)):
        done = crawler(tmp_path, *words)
        assert done.returncode == 2
        assert "[pipelines.titles] processors[2] (deduplicate): unknown option keys, did you mean key" in (
            done.stderr + done.stdout
        )
    assert [path.name for path in tmp_path.iterdir()] == ["shop.toml"]
