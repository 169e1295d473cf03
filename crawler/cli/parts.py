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
from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.seed import SeedReport
    from crawler.settings import Settings

SEED_EXAMPLES = """\
  crawler seed https://quotes.toscrape.com            one URL; state in .crawler/quotes.toscrape.com.db
  crawler seed urls.txt.gz more.csv --state big.db    lists of URLs; a CSV may have columns priority, depth and others
  zcat hosts.gz | crawler seed - --state big.db       from a pipe
  crawler seed https://example.org/sitemap.xml        every page that a sitemap lists
  crawler seed --sitemap example.org                  the same for the sitemaps that its robots.txt names
  crawler seed --sitemap https://example.org/rss      a list by any other name: sitemap, index, RSS, Atom, text
  crawler seed --from-amqp crawler.seeds --settings shop.toml    from a queue of the broker in exchange.url, until
                                                      Ctrl-C or SIGTERM; --until-empty: until nothing waits there

A message of a queue is a URL, an object {"url": …, "priority": 0-9, "meta": {…}}, or an array of those; it is
acknowledged once the crawl has its URLs. What is no seed goes to the queue NAME.dead, with the reason in a header.

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
    parser.add_argument("sources", nargs="*", metavar="URL|FILE|-", help="a URL, a list of URLs, a sitemap; - is stdin")
    parser.add_argument(
        "--sitemap",
        action="append",
        default=[],
        metavar="URL|HOST",
        help="a sitemap, index or feed, whatever its name; of a host those that its robots.txt names; may be repeated",
    )
    parser.add_argument("--from-amqp", metavar="QUEUE", help="instead: feed the crawl from a queue, until stopped")
    parser.add_argument("--until-empty", action="store_true", help="with --from-amqp: end when the queue is empty")
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
    if arguments.from_amqp is not None:
        return _feed(arguments, settings)
    if not (arguments.sources or arguments.sitemap) or arguments.until_empty:
        raise SettingsError("seed what? Say URL, FILE or --sitemap, or --from-amqp QUEUE, which --until-empty is for")
    from crawler import app, home, plan
    from crawler.seed import producer_of
    from crawler.seed import seed as add_seeds
    from crawler.seed_sitemap import marked, taking_of
    from crawler.seed_web import fetch_with

    sources = [*arguments.sources, *map(marked, arguments.sitemap)]
    planned = plan.seeding(settings, sources, arguments.state)
    with app.open_frontier(settings, planned.state) as frontier:
        report = add_seeds(
            frontier,
            planned.sources,
            producer_name=producer_of(planned.sources),
            url_chars_max=settings.worker.url_chars_max,
            fetch=fetch_with(settings, app.seed_guard(settings, planned.sources), app.make_session(settings)),
            taking=taking_of(settings, planned.hosts),
            on_progress=None if arguments.quiet else _every(LINE_EVERY_S),
            on_refused=tell_refused,
        )
    _tell(report, arguments, planned.state)
    if report.refused and not (report.new or report.known):
        home.take_back(settings, planned.made)
        return 2
    return 0


def _feed(arguments: argparse.Namespace, settings: Settings) -> int:
    """Feed the crawl from a queue. SIGTERM is its usual end, as is Ctrl-C."""
    from signal import SIGINT, SIGTERM, signal
    from threading import Event

    from crawler import app, plan
    from crawler.seed_amqp import feed

    if arguments.sources or arguments.sitemap:
        raise SettingsError("--from-amqp: give either a queue or lists")
    stop, signals = Event(), list[int]()

    def on_signal(number: int, frame: object) -> None:
        if signals:
            raise KeyboardInterrupt  # the second one does not wait
        signals.append(number)
        stop.set()

    queue = app.open_seed_queue(settings, arguments.from_amqp)
    queue.pump(0)  # says what is wrong before anything is made
    planned = plan.seeding(settings, (), arguments.state, more=True)
    before = [signal(number, on_signal) for number in (SIGINT, SIGTERM)]
    try:
        with app.open_frontier(settings, planned.state) as frontier:
            report = feed(
                frontier,
                queue,
                stop,
                until_empty=arguments.until_empty,
                url_chars_max=settings.worker.url_chars_max,
                on_progress=None if arguments.quiet else _every(LINE_EVERY_S),
                on_refused=tell_refused,
            )
    finally:
        for number, handler in zip((SIGINT, SIGTERM), before, strict=True):
            signal(number, handler)
        queue.close()
    _tell(report, arguments, planned.state)
    return 130 if SIGINT in signals else 0


def _tell(report: SeedReport, arguments: argparse.Namespace, state: str) -> None:
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(report).decode())
    elif not arguments.quiet:
        print(f"{_seeded(report)}; state {state}")


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
