"""Crawl one real site over Redis with this project and with scrapy-redis, in turns.

python -m tests.bench.redis_site            each three times; writes the README's table
python -m tests.bench.redis_site --runs 1 --no-readme
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import table
from tests.bench.__main__ import ENVIRON, START
from tests.bench.contestants import CHECKOUT, Command, rival, stored, versions
from tests.bench.measure import measure
from tests.servers.redis import RedisServer
from tests.sites.docs import docs_root
from tests.sites.nginx import Nginx
from tests.sites.walk import walk

PACKAGES = ("redis", "scrapy", "scrapy-redis")
BASELINE = "scrapy-redis"
OPTIONS = {"appendfsync": "everysec"}


@dataclass(frozen=True)
class Contestant:
    name: str
    user: str
    """Of deploy/redis.acl."""
    command: Callable[[str], Command]
    """Redis URL -> how it is started."""


@dataclass(frozen=True)
class Row:
    """One run."""

    name: str
    pages: int
    wall_s: float
    cpu_s: float
    """Of the whole process tree, without the server."""
    server_s: float
    """CPU time of redis-server."""
    peak_mb: float

    @property
    def rate(self) -> float:
        return self.pages / self.cpu_s

    @property
    def rate_in_all(self) -> float:
        return self.pages / (self.cpu_s + self.server_s)


def ours(redis_url: str, workers: int) -> Command:
    def command(url: str, home: Path) -> list[str]:
        where = ["--state", "bench", "--set", f"frontier.url={redis_url}", "--out", str(home / "out.jsonl")]
        flags = ["--workers", str(workers), "--delay", "0", "--per-host", "0", "--quiet", "--json"]
        return [sys.executable, "-m", "crawler", "run", url, *where, *flags]

    return command


def contestants(python: Path) -> list[Contestant]:
    def scrapy(style: str) -> Callable[[str], Command]:
        return lambda redis_url: rival(python, "scrapy_site.py", style, redis_url)

    return [
        Contestant("**this project**, Redis, 1 worker", "crawler", lambda redis_url: ours(redis_url, 1)),
        Contestant("**this project**, Redis, 2 workers", "crawler", lambda redis_url: ours(redis_url, 2)),
        Contestant(BASELINE, "admin", scrapy("tutorial")),
        Contestant(f"{BASELINE}, tuned by hand", "admin", scrapy("tuned")),
    ]


def server_cpu_s(server: RedisServer) -> float:
    used = server.admin.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])


def run(entrant: Contestant, site: Nginx, server: RedisServer, expected: frozenset[str]) -> Row:
    """One run. Raises RuntimeError when it did not bring exactly the site's pages."""
    server.flush()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Path(name)
        before = server_cpu_s(server)
        command = entrant.command(server.url_for(entrant.user))(site.url + START, home)
        used = measure(command, home=home, cwd=home, environ={**ENVIRON, "PYTHONPATH": str(CHECKOUT)})
        server_s = server_cpu_s(server) - before
        if used.code:
            raise RuntimeError(f"{entrant.name}: exit code {used.code}: {used.stderr[-2000:]}")
        urls = stored(home)
    if len(urls) != len(expected) or set(urls) != expected:
        raise RuntimeError(f"{entrant.name}: {len(urls)} pages, {len(set(urls))} distinct, of {len(expected)}")
    return Row(entrant.name, len(urls), used.wall_s, used.cpu_s, server_s, used.peak_mb)


def race(entrants: Sequence[Contestant], runs: int) -> list[Row]:
    """Each one's run of median CPU time."""
    found: dict[str, list[Row]] = {entrant.name: [] for entrant in entrants}
    root = docs_root()
    with Nginx(root) as site, RedisServer(OPTIONS) as server:
        expected = walk(root, site.url + START).pages
        for _ in range(runs):
            for entrant in entrants:
                row = run(entrant, site, server, expected)
                found[entrant.name].append(row)
                print(row, file=sys.stderr, flush=True)
    return [sorted(rows, key=lambda row: row.cpu_s)[len(rows) // 2] for rows in found.values()]


def render(rows: Sequence[Row], caption: str) -> str:
    """The table as Markdown."""
    base = {row.name: row for row in rows}[BASELINE]
    times = f"\N{MULTIPLICATION SIGN} {BASELINE}"
    lines = [
        f"| over Redis | pages | wall s | CPU s | pages per CPU-second | {times} | Redis CPU s "
        f"| pages per CPU-second, Redis included | {times} | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.pages:,} | {row.wall_s:.2f} | {row.cpu_s:.2f} | {row.rate:,.0f} "
            f"| {row.rate / base.rate:.1f} | {row.server_s:.2f} | {row.rate_in_all:,.0f} "
            f"| {row.rate_in_all / base.rate_in_all:.1f} | {row.peak_mb:.0f} |"
        )
    return "\n".join([*lines, "", caption])


def caption(pages: int, runs: int, rivals: Path) -> str:
    known = ", ".join(f"{name} {version}" for name, version in sorted(versions(rivals, PACKAGES).items()))
    return (
        f"Measured by `python -m tests.bench.redis_site` on {datetime.datetime.now(datetime.UTC).date().isoformat()}: "
        f"{pages:,} pages of Debian's {docs_root().resolve().parent.name}-doc, from nginx on loopback, appendfsync "
        f"everysec; the run of median CPU time out of {runs}, taken in turns. CPU is that of the whole process tree "
        "from start to exit, redis-server's beside it. scrapy-redis is Scrapy with its scheduler and duplicate filter, "
        "with the spider of the table above; *tuned by hand* makes a page's hrefs distinct before they become "
        f"requests. {table.machine()}; Python {platform.python_version()}, {known}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.redis_site", description="A real site over Redis.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts (default 3)")
    python = Path(f"{sys.prefix}-bench") / "bin" / "python"
    parser.add_argument("--rivals", type=Path, default=python, help="that has scrapy-redis (default %(default)s)")
    parser.add_argument("--no-readme", action="store_true", help="print the table only")
    given = parser.parse_args()
    if not given.rivals.exists():
        print(f"no {given.rivals}: run `make bench`, or name an interpreter with --rivals", file=sys.stderr)
        return 2
    rows = race(contestants(given.rivals), given.runs)
    text = render(rows, caption(rows[0].pages, given.runs, given.rivals))
    print(text)
    if not given.no_readme:
        readme = CHECKOUT / "README.md"
        readme.write_text(table.insert(readme.read_text(encoding="utf-8"), text, "redis-site"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
