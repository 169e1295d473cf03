"""The README's benchmark table."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARKERS = "<!-- {}:begin -->", "<!-- {}:end -->"
BEGIN, END = (marker.format("bench") for marker in MARKERS)


@dataclass(frozen=True)
class Row:
    """One contestant's median run."""

    name: str
    pages: int
    wall_s: float
    cpu_s: float
    peak_mb: float

    @property
    def per_cpu_s(self) -> float:
        return self.pages / self.cpu_s


def render(rows: Sequence[Row], *, baseline: str, caption: str) -> str:
    """The table as Markdown; without a row of the baseline's name the column of comparison is empty."""
    base = next((row.per_cpu_s for row in rows if row.name == baseline), None)
    lines = [
        f"| crawler | pages | wall s | CPU s | pages per CPU-second | \N{MULTIPLICATION SIGN} {baseline} | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        times = f"{row.per_cpu_s / base:.1f}" if base else ""
        lines.append(
            f"| {row.name} | {row.pages:,} | {row.wall_s:.2f} | {row.cpu_s:.2f} | {row.per_cpu_s:,.0f} | {times} "
            f"| {row.peak_mb:.0f} |"
        )
    return "\n".join([*lines, "", caption])


def insert(text: str, table: str, block: str = "bench") -> str:
    """The text with what stands between the block's markers replaced. Raises ValueError when they are not there."""
    first, last = (marker.format(block) for marker in MARKERS)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"no {first} … {last} to write the table between")
    return f"{before}{first}\n{table}\n{last}{after}"


def caption(*, site: str, runs: int, versions: Mapping[str, str]) -> str:
    """What was measured, where, when, on what."""
    names = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"Measured by `make bench` on {date}: {site}; the run of median CPU time out of {runs}, taken in turns. "
        "CPU is that of the whole process tree from start to exit; peak memory is the highest sum of its PSS. "
        "Scrapy is a spider with `response.follow_all` as in its tutorial; *CrawlSpider* is that with a LinkExtractor; "
        "*tuned by hand*, like crawlee here, makes a page's hrefs distinct before they become requests. The bare loops "
        "are aiohttp and lxml without queue, politeness, robots.txt or crash safety: naive joins every href, careful "
        "the distinct ones. "
        f"{machine()}; Python {platform.python_version()}, {names}."
    )


def machine() -> str:
    """Processor, cores and kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"
