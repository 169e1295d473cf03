"""When a worker tells the frontier that a fetch ended: at once, with its time. But a host to be left alone stays in
flight until the outcome says for how long."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from crawler.caller import Caller
from crawler.child import make_limits, make_scope
from crawler.frontier.memory import MemoryFrontier
from crawler.guard import Guard
from crawler.model import Lease, Request, Retry
from crawler.settings import Settings
from crawler.spiders.pages import Pages
from crawler.visit import Visitor
from tests.sites.stamp import StampServer

SLOW_S = 0.05


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    status = int(path.strip("/").partition("/")[0] or 200)
    return status, {"Content-Type": "text/html", "Retry-After": "7"}, b"<title>x</title>"


async def told(lease: Lease) -> tuple[list[float], object]:
    """The times that the frontier is told, and the outcome."""
    settings, reports = Settings(), list[float]()

    async def fetch_ended(token: str, seconds: float) -> None:
        reports.append(seconds)

    visitor = Visitor(
        MemoryFrontier(settings.rules()),
        Pages(),
        settings,
        Caller(),
        worker="w1",
        scope=make_scope(settings, Pages, (lease.host,)),
        limits=make_limits(settings),
        watchdog=contextlib.nullcontext(),
        guard=Guard(enabled=False),
    )
    async with visitor:
        return reports, (await visitor.visit(lease, fetch_ended)).outcome


@pytest.mark.parametrize(
    ("path", "reported"),
    [("/200", True), ("/404", True), ("/500", False), ("/429", None), ("/503", None), ("/robots.txt", None)],
)
def test_what_is_reported(path: str, reported: bool | None) -> None:
    with StampServer(lambda address, path: answer(address, path.replace("robots.txt", "503")), slow_s=SLOW_S) as server:
        host = f"127.0.0.1:{server.port}"
        request = Request(url=f"http://{host}{path}")
        lease = Lease(token="t:1", request=request, fingerprint=1, host=host, robots=path == "/robots.txt")
        times, outcome = asyncio.run(told(lease))
    if reported is None:
        assert times == []
        assert isinstance(outcome, Retry)
        assert (outcome.blame, outcome.delay_s) == ("host", 7.0)
    else:
        (seconds,) = times
        assert seconds >= SLOW_S if reported else seconds == 0.0
