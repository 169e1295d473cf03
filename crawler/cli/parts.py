"""`crawler seed`, `crawler work`, `crawler store`: the parts of `crawler run`, each by itself, for several terminals or
machines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from crawler.cli import option
from crawler.cli.progress import LINE_EVERY_S
from crawler.cli.run import add_output, follow, tell_refused
from crawler.cli.text import number

if TYPE_CHECKING:
    from crawler.seed import SeedReport

SEED_EXAMPLES = """\
  crawler seed https://quotes.toscrape.com            one URL; state in .crawler/quotes.toscrape.com.db
  crawler seed urls.txt.gz more.csv --state big.db    lists of URLs; a CSV may have columns priority, depth and others
  zcat hosts.gz | crawler seed - --state big.db       from a pipe
  crawler seed https://example.org/sitemap.xml        every page that a sitemap lists

A URL that the crawl knows already is not added again, so repeating is harmless. Refused lines are shown with number
and reason, and the others are added all the same.
"""

WORK_EXAMPLES = """\
  crawler work -n 4 --state big.db                    four workers, until stopped: they wait for new seeds
  crawler work -n 4 --state big.db --until-finished   they end when nothing is left
  crawler work -n 1 --settings shared.toml            one worker on the frontier that the settings name

Ctrl-C or SIGTERM: finish the pages in flight, give the rest back, stop.
"""

STORE_EXAMPLES = """\
  crawler store --settings shop.toml                  every pipeline of the settings, each in one process
  crawler store prices --settings shop.toml -n 2      two copies of the pipeline named prices

A store that allows one writer only (a file) lets further copies stand by.
"""


def add(commands: option.Commands) -> None:
    text = "add URLs to a crawl, also from lists, sitemaps or a pipe"
    parser = option.command(commands, "seed", seed, text, SEED_EXAMPLES)
    parser.add_argument("sources", nargs="+", metavar="URL|FILE|-", help="a URL, a list of URLs, a sitemap; - is stdin")
    option.add_state(parser, "state of the crawl; default: .crawler/<first host>.db")
    option.add_settings(parser)
    add_output(parser)

    text = "run workers on a crawl: they fetch and parse what waits"
    parser = option.command(commands, "work", work, text, WORK_EXAMPLES)
    option.add_workers(parser, "-n", "-w", "--workers")
    parser.add_argument("--until-finished", action="store_true", help="end when the crawl is finished; default: wait")
    option.add_crawl(parser)
    option.add_state(parser)
    option.add_settings(parser)
    add_output(parser)

    text = "run stores on a crawl: they write what the workers found"
    parser = option.command(commands, "store", store, text, STORE_EXAMPLES)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="pipelines by their names in the settings; default: all"
    )
    parser.add_argument(
        "-n", "--copies", type=option.whole(1), default=1, metavar="N", help="processes each; default 1"
    )
    parser.add_argument("--until-finished", action="store_true", help="end when the crawl is finished and stored")
    option.add_state(parser)
    option.add_settings(parser)
    add_output(parser)


def seed(arguments: argparse.Namespace) -> int:
    settings = option.load(arguments)
    from crawler import app, plan
    from crawler.seed import producer_of
    from crawler.seed import seed as add_seeds
    from crawler.seed_web import fetch_with

    planned = plan.seeding(settings, arguments.sources, arguments.state)
    with app.open_frontier(settings, planned.state) as frontier:
        report = add_seeds(
            frontier,
            planned.sources,
            producer_name=producer_of(planned.sources),
            url_chars_max=settings.worker.url_chars_max,
            fetch=fetch_with(settings.fetch),
            on_progress=None if arguments.quiet else _every(LINE_EVERY_S),
            on_refused=tell_refused,
        )
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(report).decode())
    elif not arguments.quiet:
        print(f"{_seeded(report)}; state {planned.state}")
    return 2 if report.refused and not (report.new or report.known) else 0


def _every(seconds: float) -> Callable[[SeedReport], None]:
    """Tells the counts on stderr, at most once in so many seconds."""
    told = monotonic()

    def tell(report: SeedReport) -> None:
        nonlocal told
        if monotonic() - told >= seconds:
            told = monotonic()
            print(_seeded(report), file=sys.stderr, flush=True)

    return tell


def _seeded(report: SeedReport) -> str:
    return f"{number(report.new)} new, {number(report.known)} known, {number(report.refused)} refused"


def work(arguments: argparse.Namespace) -> int:
    settings = option.load(arguments)
    from crawler import plan
    from crawler.cli import state

    place = state.resolve(settings, arguments.state)
    planned = plan.work(settings, place, until_finished=arguments.until_finished)
    return follow(planned, arguments)


def store(arguments: argparse.Namespace) -> int:
    settings = option.load(arguments)
    from crawler import plan
    from crawler.cli import state

    place = state.resolve(settings, arguments.state)
    planned = plan.store(
        settings, place, arguments.names, copies=arguments.copies, until_finished=arguments.until_finished
    )
    return follow(planned, arguments)
