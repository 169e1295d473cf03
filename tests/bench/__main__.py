"""Crawl one real site with this project and with others, in turns, and write the table into the README.

python -m tests.bench                       every contestant three times
python -m tests.bench --runs 1 --only SQLite --no-readme
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import table
from tests.bench.contestants import BASELINE, CHECKOUT, Contestant, contestants, stored, versions
from tests.bench.measure import measure
from tests.sites.docs import docs_root
from tests.sites.nginx import Nginx
from tests.sites.walk import walk

START = "/index.html"


ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Of the contestants: as users run them, with their modules compiled once."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Compare crawlers on one real site.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts (default 3)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="contestants with this in their name"
    )
    parser.add_argument("--root", type=Path, help="directory of the site; default: Debian's Python documentation")
    parser.add_argument(
        "--rivals",
        type=Path,
        default=Path(f"{sys.prefix}-bench") / "bin" / "python",
        help="interpreter that has scrapy and crawlee (default %(default)s)",
    )
    parser.add_argument("--no-readme", action="store_true", help="print the table only")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs: at least 1")
    return given


def main() -> int:
    given = arguments()
    entrants = [
        entrant
        for entrant in contestants(given.rivals)
        if not given.only or any(text.lower() in entrant.name.lower() for text in given.only)
    ]
    if not given.rivals.exists() and any(str(given.rivals) in entrant.command("", Path())[0] for entrant in entrants):
        print(f"no {given.rivals}: run `make bench`, or name an interpreter with --rivals", file=sys.stderr)
        return 2
    root = given.root or docs_root()
    rows, wrong = race(entrants, root, given.runs)
    known = versions(Path(sys.executable)) | (versions(given.rivals) if given.rivals.exists() else {})
    of = str(root) if given.root else f"Debian's {root.resolve().parent.name}-doc"
    site = f"{rows[0].pages if rows else 0:,} pages of {of}"
    text = table.render(
        rows,
        baseline=BASELINE,
        caption=table.caption(site=f"{site}, from nginx on loopback", runs=given.runs, versions=known),
    )
    print(text)
    if wrong or given.no_readme:
        return bool(wrong)
    readme = CHECKOUT / "README.md"
    readme.write_text(table.insert(readme.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def race(entrants: Sequence[Contestant], root: Path, runs: int) -> tuple[list[table.Row], bool]:
    """Each contestant's run of median CPU time, and whether any run did not bring exactly the site's pages."""
    results: dict[str, list[table.Row]] = {entrant.name: [] for entrant in entrants}
    wrong = False
    with Nginx(root) as site:
        expected = walk(root, site.url + START).pages
        for _ in range(runs):
            for entrant in entrants:
                row, fault = run(entrant, site, expected)
                results[entrant.name].append(row)
                print(
                    f"{row.name}: {row.wall_s:.2f} s, {row.cpu_s:.2f} s CPU, {row.peak_mb:.0f} MB {fault}",
                    file=sys.stderr,
                )
                wrong = wrong or bool(fault)
    return [sorted(rows, key=lambda row: row.cpu_s)[len(rows) // 2] for rows in results.values()], wrong


def run(entrant: Contestant, site: Nginx, expected: frozenset[str]) -> tuple[table.Row, str]:
    """One run, and what is wrong with it (empty: nothing)."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Path(name)
        site.forget()
        used = measure(entrant.command(site.url + START, home), home=home, cwd=CHECKOUT, environ=ENVIRON)
        urls = stored(home) if (home / "out.jsonl").exists() else []
        fault = ""
        if used.code:
            fault = f"exit code {used.code}: {used.stderr[-2000:]}"
        elif len(urls) != len(set(urls)) or set(urls) != expected:
            missing, more = expected - set(urls), set(urls) - expected
            twice = len(urls) - len(set(urls))
            samples = sorted(missing)[:3] + sorted(more)[:3]
            fault = f"not the site: {len(missing)} missing, {len(more)} more, {twice} twice: {samples}"
        return table.Row(entrant.name, len(set(urls)), used.wall_s, used.cpu_s, used.peak_mb), fault


if __name__ == "__main__":
    sys.exit(main())
