"""The settings' own values for single hosts, brought to the hosts' records. Through the port alone."""

from __future__ import annotations

from collections.abc import Mapping

from crawler.frontier import Frontier
from crawler.model import CrawlRecord, OwnPace

_CRAWLS = OwnPace(delay_s=-1.0, per_host=-1)


def apply(frontier: Frontier, record: CrawlRecord, wanted: Mapping[str, OwnPace]) -> None:
    """Every worker calls it before its first lease. The crawl's record says what was applied last, so of workers with
    the same settings one does it, or some do the same; of different ones the last to start decides, for all. Hosts that
    are no longer named go back to the crawl's values. Cost: nothing when nothing changed, else a trip for each host
    that did. Raises BackendError: repeat it."""
    if record.own == wanted:
        return
    for name in {**record.own, **wanted}:
        own = wanted.get(name, _CRAWLS)
        if own != record.own.get(name):
            delay_s = -1.0 if own.delay_s is None else own.delay_s
            frontier.set_host(name, delay_s=delay_s, per_host=-1 if own.per_host is None else own.per_host)
    frontier.update_record(own=dict(wanted))
