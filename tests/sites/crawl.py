"""Runs the real command in real processes, looks at its state, and reads what it stored."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crawler import home
from crawler.error import BackendError, SettingsError
from crawler.frontier import Frontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import DeadLetter, Rules
from crawler.settings import load
from crawler.view import Counts, WorkerRow

HANG_S = 150.0
"""A command that takes longer hangs."""
NAME = "demo"
"""Of a crawl on a server."""


@dataclass
class Crawl:
    """One crawl in a directory of its own: `run` it, or `start` it and meddle."""

    home: Path
    arguments: Sequence[str]
    """Of `crawler run`, without --state and -o."""
    out: str = "out.jsonl"
    url: str = ""
    """Of the Redis that has the frontier; empty: a file in `home`."""
    process: subprocess.Popen[str] = field(init=False)

    @property
    def state(self) -> Path:
        return self.home / "state.db"

    @property
    def command(self) -> list[str]:
        state = NAME if self.url else str(self.state)
        run = [sys.executable, "-m", "crawler", "run", "--state", state, "-o", str(self.home / self.out)]
        return [*run, "--json", *self.arguments]

    @property
    def environ(self) -> dict[str, str]:
        given = {"CRAWLER__FRONTIER__URL": self.url} if self.url else {}
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **given}

    def start(self) -> None:
        """In a process group of its own, so that the whole tree can be killed at once."""
        with (self.home / "stderr.txt").open("a") as errors:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.home,
                start_new_session=True,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environ,
            )

    def end(self) -> dict[str, Any]:
        """Wait for the end; the report, with `exit` in it."""
        try:
            stdout, _ = self.process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            self.kill_tree()
            raise
        report: dict[str, Any] = json.loads(stdout) if stdout else {}
        return {**report, "exit": self.process.returncode}

    def run(self) -> dict[str, Any]:
        self.start()
        return self.end()

    def kill_tree(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def errors(self) -> str:
        return (self.home / "stderr.txt").read_text()

    def frontier(self) -> Frontier:
        """To look at while it runs, and after. Raises BackendError while a server is away."""
        if not self.url:
            return SqliteFrontier(self.state, Rules())
        settings = load(None, environ={"CRAWLER__FRONTIER__URL": self.url, "CRAWLER__REDIS__CONNECT_S": "1"})
        return home.open_redis(settings, NAME)

    def workers(self) -> tuple[WorkerRow, ...]:
        with self.frontier() as frontier:
            return frontier.workers()

    def counts(self) -> Counts:
        with self.frontier() as frontier:
            return frontier.counts()

    def dead(self) -> tuple[DeadLetter, ...]:
        with self.frontier() as frontier:
            return frontier.dead(limit=10_000)


def pages(crawl: Crawl) -> int:
    """Settled so far; none before the crawl has begun, or while the server is away."""
    with suppress(BackendError, SettingsError):
        return crawl.counts().pages
    return 0


def until(crawl: Crawl, settled: int, hang_s: float) -> None:
    """Wait for so many pages, so long at most."""
    deadline = time.monotonic() + hang_s
    while pages(crawl) < settled:
        assert crawl.running, f"the crawl ended before {settled} pages: {crawl.errors[-3000:]}"
        assert time.monotonic() < deadline, crawl.errors[-3000:]
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Of a running command: workers, consumers and seeder alike."""
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def urls_of_jsonl(path: Path) -> Counter[str]:
    with path.open(encoding="utf-8") as lines:
        return Counter(json.loads(line)["url"] for line in lines)


def urls_of_csv(path: Path) -> Counter[str]:
    before = csv.field_size_limit(10**9)  # of the whole process
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return Counter(row["url"] for row in csv.DictReader(lines))
    finally:
        csv.field_size_limit(before)


def urls_of_sqlite(path: Path) -> Counter[str]:
    db = sqlite3.connect(path)
    try:
        return Counter(url for (url,) in db.execute("SELECT url FROM item"))
    finally:
        db.close()


def pid_of(worker: str) -> int:
    """The process of an incarnation: its name is `place-pid-tag`."""
    return int(worker.split("-")[1])
