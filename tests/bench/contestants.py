"""Who is compared, and how each is started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RIVALS = CHECKOUT / "tests" / "bench" / "rivals"

BASELINE = "Scrapy"
"""The contestant that the others are compared with."""

PACKAGES = ("aiohttp", "crawlee", "lxml", "parsel", "scrapy", "uvloop")
"""Those whose versions the table names."""

Command = Callable[[str, Path], list[str]]
"""(URL to start from, directory of its own) -> a command that writes `out.jsonl` there."""


@dataclass(frozen=True)
class Contestant:
    name: str
    command: Command


def ours(*, workers: int, state: str = "state.db") -> Command:
    """`crawler run` of this checkout, on this interpreter."""
    program = [sys.executable, "-m", "crawler"]

    def command(url: str, home: Path) -> list[str]:
        where = state if state.endswith(":") else str(home / state)
        flags = ["--workers", str(workers), "--state", where, "--out", str(home / "out.jsonl")]
        return [*program, "run", url, *flags, "--delay", "0", "--per-host", "0", "--quiet", "--json"]

    return command


def rival(python: Path, script: str, *arguments: str) -> Command:
    """A script of `rivals/`, on an interpreter that has what it needs."""
    return lambda url, home: [str(python), str(RIVALS / script), url, str(home / "out.jsonl"), *arguments]


def contestants(rivals_python: Path) -> list[Contestant]:
    bare = Path(sys.executable)
    return [
        Contestant("**this project**, memory", ours(workers=1, state="memory:")),
        Contestant("**this project**, SQLite, 1 worker", ours(workers=1)),
        Contestant("**this project**, SQLite, 2 workers", ours(workers=2)),
        Contestant(BASELINE, rival(rivals_python, "scrapy_site.py", "tutorial")),
        Contestant(f"{BASELINE}, CrawlSpider", rival(rivals_python, "scrapy_site.py", "crawlspider")),
        Contestant(f"{BASELINE}, tuned by hand", rival(rivals_python, "scrapy_site.py", "tuned")),
        Contestant("crawlee-python", rival(rivals_python, "crawlee_site.py")),
        Contestant("bare loop, naive", rival(bare, "bare.py")),
        Contestant("bare loop, careful", rival(bare, "bare.py", "careful")),
    ]


def versions(python: Path, packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of those packages that are in the interpreter's environment."""
    code = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:] if any(m.distributions(name=n))}))"
    )
    answer = subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def stored(home: Path) -> list[str]:
    """URLs of the pages in a contestant's output; ours nests the page's own fields, the URL is on top in both."""
    with (home / "out.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["url"] for line in lines]
