"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crawler.frontier import Frontier
from crawler.model import Rules
from tests.contract.frontiers import ADAPTERS, RULES, Crawl, FakeClock, balanced


@pytest.fixture(params=list(ADAPTERS))
def open_crawl(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Crawl]]:
    """Makes crawls with rules of the test's own. After the test their counters must add up."""
    crawls: list[Crawl] = []
    with ExitStack() as stack:

        def make(**rules: object) -> Crawl:
            clock = FakeClock()
            folder = tmp_path / str(len(crawls))
            folder.mkdir()

            def reopen(rules: Rules) -> Frontier:
                return stack.enter_context(ADAPTERS[request.param](folder, rules, clock))

            given = {**{name: getattr(RULES, name) for name in ("delay_s", "per_host", "robots")}, **rules}
            crawls.append(Crawl(reopen(Rules(**given)), clock))
            return crawls[-1]

        yield make
        for crawl in crawls:
            assert balanced(crawl.frontier), crawl.counts


@pytest.fixture
def crawl(open_crawl: Callable[..., Crawl]) -> Crawl:
    """Without politeness and robots.txt."""
    return open_crawl()
