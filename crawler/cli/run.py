"""`crawler run`: seeds, workers and stores together, until the crawl is finished."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.text import printable
from crawler.error import BadUrl, SettingsError

if TYPE_CHECKING:
    from crawler.plan import Plan
    from crawler.seed import Refusal

EXAMPLES = """\
  crawler run https://quotes.toscrape.com
      every page of the site, politely; results in quotes.toscrape.com.jsonl, state in .crawler/quotes.toscrape.com.db
  crawler run https://quotes.toscrape.com -w 4 -o quotes.csv --delay 0.5
      four workers, which together ask the site at most every half second
  crawler run --seeds urls.txt --depth 1 --delay 0 --per-host 4 -o pages.db
      the pages of a list and those they link to, at most four at once from each host
  crawler run https://example.org --spider shop.py:Shop --max-pages 500 --json > report.json
      a spider of your own, at most 500 pages, the report as JSON
  crawler run https://example.org --fresh
      forget what was crawled before, results included, and start over

The same command again goes on where the crawl stopped, whatever stopped it. Ctrl-C finishes the pages in flight and
stops; a second one stops at once. Nothing is lost either way.
"""


def add(commands: option.Commands) -> None:
    purpose = "crawl to the end, results into a file; repeated, it resumes"
    parser = option.command(commands, "run", run, purpose, EXAMPLES)
    parser.add_argument(
        "urls", nargs="*", metavar="URL", help="where to start; the crawl stays on the hosts of its seeds"
    )
    add_seeds(parser)
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="results: FILE.jsonl or .csv (also .gz, .zst), .db (SQLite), .parquet, .warc.gz; default: <name>.jsonl",
    )
    parser.add_argument("--fresh", action="store_true", help="start over: forget this crawl's state and results")
    parser.add_argument(
        "--revisit",
        action="store_true",
        help="go on until stopped: visit pages again when they are due [revisit]; adaptively when no mode is set",
    )
    parser.add_argument(
        "--cache",
        dest="overrides",
        action="append_const",
        const="cache.enabled=true",
        help="keep all responses and answer later runs from them: for the development of spiders [cache]",
    )
    option.add_workers(parser, "-w", "--workers")
    option.add_crawl(parser)
    option.add_state(parser, "state of the crawl: a file, or memory: for none; default: .crawler/<first host>.db")
    option.add_settings(parser)
    add_output(parser)


def add_seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds",
        action="append",
        default=[],
        metavar="FILE",
        help="a list of URLs: text, CSV, JSONL or sitemap, also .gz; - is stdin; may be repeated",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--quiet", action="store_true", help="show no progress and no summary, only errors")
    group.add_argument("--json", action="store_true", help="print the final report as one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    settings = option.load(arguments)
    check_urls(arguments.urls)
    from crawler import plan

    planned = plan.prepare(
        settings,
        urls=arguments.urls,
        seed_files=arguments.seeds,
        out=arguments.out,
        state=arguments.state,
        fresh=arguments.fresh,
        revisit=arguments.revisit,
    )
    return follow(planned, arguments)


def check_urls(urls: Sequence[str]) -> None:
    """Raises SettingsError for the first that is no URL, before anything is created."""
    from crawler.url import canonical

    for url in urls:
        try:
            canonical(url)
        except BadUrl as error:
            said = f"not a URL to start from: {printable(str(error))}"
            if os.path.exists(url):
                said += f"; for a list of URLs say --seeds {url}"
            elif error.reason == "not_a_url":
                said += f"; did you mean https://{printable(url)}?"
            raise SettingsError(said) from None


def tell_refused(refusal: Refusal) -> None:
    """A line for a seed that was refused."""
    source, line, reason, detail = refusal
    where = f"{source}:{line}" if line else source
    with contextlib.suppress(OSError):
        print(f"refused: {printable(where)}: {printable(reason)} {printable(detail)}".rstrip(), file=sys.stderr)


class Said:
    """A stream for log lines, each given to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str) -> None:
        if text := text.rstrip("\n"):
            self._say(text)

    def flush(self) -> None:
        return


def follow(plan: Plan, arguments: argparse.Namespace) -> int:
    """Run a plan with its progress shown, then print the summary or the report. Returns the exit code."""
    import logging

    from crawler.cli import progress, summary
    from crawler.hours import HostHours
    from crawler.launch import launch

    view = progress.choose(title=plan.name, quiet=arguments.quiet, stream=sys.stderr)
    log = logging.StreamHandler(Said(view.say))
    log.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.ERROR if arguments.quiet else logging.WARNING, handlers=[log])
    for name, opens in HostHours(plan.settings.politeness).closed(int(time.time() * 1000)):
        who = name or plan.name
        logging.getLogger("crawler.run").warning("%s: outside its hours, nothing is fetched until %s", who, opens)
    try:
        report = launch(plan, view.tick)
    finally:
        view.close()
    for refusal in report.seeded.refusals if report.seeded else ():
        tell_refused(refusal)
    try:
        if arguments.json:
            print(summary.encode(report), flush=True)
        elif not arguments.quiet:
            print(summary.text(report, again=summary.repeat(arguments.argv)), flush=True)
    except BrokenPipeError:  # the crawl's own outcome counts, not the reader's
        option.mute(sys.stdout)
    return report.exit_code
