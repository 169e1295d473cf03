"""The cap by domain on Redis: over shards, when it comes and goes, with what wakes idle workers."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from crawler.frontier.domain import domain_of
from crawler.frontier.redis import RedisFrontier
from crawler.model import Done, Lease, Request, Settlement
from tests.contract.frontiers import RULES, Crawl, FakeClock, request_id
from tests.contract.redis_frontier import open_redis

HANG_S = 20.0
CAP = 2
CAPPED = msgspec.structs.replace(RULES, per_domain=CAP)


def requests(domains: int, hosts: int) -> list[Request]:
    return [
        Request(url=f"http://h{host}.d{domain}.co.uk/{page}")
        for domain in range(domains)
        for host in range(hosts)
        for page in range(2)
    ]


def lease(one: RedisFrontier, count: int = 100) -> list[Lease]:
    return list(one.lease(count, worker="w1", request_id=request_id()).leases)


def test_it_is_exact_over_shards(tmp_path: Path) -> None:
    with open_redis(tmp_path, CAPPED, FakeClock(), shards=4) as one:
        one.add(requests(8, 5))
        left, flying = 80, Counter[str]()
        for _ in range(200):
            leases = lease(one, 7)
            flying.update(domain_of(found.host) for found in leases)
            assert max(flying.values(), default=0) <= CAP
            ended = leases[: len(leases) // 2 + 1]
            one.settle([Settlement(found.token, Done()) for found in ended])
            flying.subtract(domain_of(found.host) for found in ended)
            one.release([found.token for found in leases[len(ended) :]])
            flying.subtract(domain_of(found.host) for found in leases[len(ended) :])
            left -= len(ended)
            if not left:
                break
        assert one.counts().done == 80


@pytest.mark.parametrize("shards", [1, 3])
def test_a_large_call_gives_one_of_each_host(tmp_path: Path, shards: int) -> None:
    with open_redis(tmp_path, msgspec.structs.replace(CAPPED, per_domain=9), FakeClock(), shards=shards) as one:
        one.add(requests(4, 2))
        assert Counter(found.host for found in lease(one, 200)).most_common(1)[0][1] == 1
        assert len(lease(one, 200)) == 8


def test_what_others_leased_without_a_cap_counts_as_soon_as_there_is_one(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_redis(tmp_path, RULES, clock) as free, open_redis(tmp_path, CAPPED, clock) as capped:
        free.add(requests(1, 6))
        held = lease(free, 3)
        assert len({found.host for found in held}) == 3
        assert lease(capped) == []
        free.settle([Settlement(found.token, Done()) for found in held[:2]])
        assert len(lease(capped)) == 1
        assert len(lease(free, 2)) == 2
        assert lease(capped) == []


def test_who_waits_for_room_is_woken(tmp_path: Path) -> None:
    with open_redis(tmp_path, msgspec.structs.replace(CAPPED, delay_s=30.0), None) as one:
        one.add(requests(1, 4))
        held = lease(one)
        assert len(held) == CAP
        crawl, woken, subscribed = Crawl(one, FakeClock()), threading.Event(), threading.Event()

        def on_ready() -> None:
            (woken if subscribed.is_set() else subscribed).set()

        one.listen(on_ready)
        assert subscribed.wait(HANG_S)
        assert crawl.lease(1) == []
        one.fetched([held[0].token])  # its own host is to be left alone, others of its domain may go
        assert woken.wait(HANG_S)
        assert len(lease(one)) == 1
