"""What scrapy-redis's own duplicate filter and queues cost: `queue_of_scrapy_redis.py REDIS_URL OPERATIONS SEEN`.

Each is used as its scheduler does, one request at a time, `OPERATIONS` times. Then the filter's set is filled up to
`SEEN` fingerprints, as SADD in a pipeline, to see what one takes. Writes one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import redis
import scrapy
from scrapy.settings import Settings
from scrapy_redis.connection import get_redis_from_settings
from scrapy_redis.dupefilter import RFPDupeFilter
from scrapy_redis.queue import FifoQueue, PriorityQueue

BATCH = 10_000


class Page(scrapy.Spider):
    name = "bench"


def used_bytes(server: redis.Redis) -> int:
    """When what was deleted is freed."""
    while server.info("memory")["lazyfree_pending_objects"]:
        time.sleep(0.1)
    return int(server.info("memory")["used_memory"])


def server_used(server: redis.Redis) -> tuple[float, int]:
    """CPU seconds, and commands carried out."""
    info = server.info("cpu", "commandstats")
    cpu = info["used_cpu_sys"] + info["used_cpu_user"]
    return cpu, sum(row["calls"] for name, row in info.items() if name.startswith("cmdstat_"))


def timed(server: redis.Redis, name: str, operation: Callable[[Any], object], inputs: Iterable[Any]) -> dict[str, Any]:
    inputs = list(inputs)
    cpu, commands = server_used(server)
    wall, own = time.perf_counter(), time.process_time()
    for one in inputs:
        operation(one)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    cpu_after, commands_after = server_used(server)
    return {
        "name": name,
        "units": len(inputs),
        "wall_s": wall,
        "client_s": own,
        "server_s": cpu_after - cpu,
        # INFO itself was one.
        "commands": commands_after - commands - 1,
    }


def queue(server: redis.Redis, kind: type, requests: list[scrapy.Request]) -> tuple[list[dict[str, Any]], float]:
    """Push and pop of all, and the bytes that one takes."""
    waiting = kind(server, Page(), f"%(spider)s:{kind.__name__}")
    empty = used_bytes(server)
    push = timed(server, f"{kind.__name__}.push", waiting.push, requests)
    bytes_each = (used_bytes(server) - empty) / len(requests)
    pop = timed(server, f"{kind.__name__}.pop", lambda _: waiting.pop(), requests)
    if len(waiting):
        raise RuntimeError(f"{kind.__name__}: {len(waiting)} left")
    return [push, pop], bytes_each


def main(url: str, operations: int, seen: int) -> None:
    server = get_redis_from_settings(Settings({"REDIS_URL": url}))
    requests = [scrapy.Request(f"http://h{n % 1000}.example/shop/product/{n}") for n in range(operations)]
    empty = used_bytes(server)
    duplicates = RFPDupeFilter(server, "bench:dupefilter")
    rows = [timed(server, "RFPDupeFilter.request_seen", duplicates.request_seen, requests)]
    for begin in range(operations, seen, BATCH):
        numbers = range(begin, min(begin + BATCH, seen))
        prints = [hashlib.sha1(b"%d" % number).hexdigest() for number in numbers]
        server.sadd(duplicates.key, *prints)
    report: dict[str, Any] = {"seen": max(seen, operations), "pending_bytes": {}}
    report["seen_bytes"] = (used_bytes(server) - empty) / server.scard(duplicates.key)
    duplicates.clear()
    for kind in (PriorityQueue, FifoQueue):
        costs, report["pending_bytes"][kind.__name__] = queue(server, kind, requests)
        rows += costs
    print(json.dumps(report | {"rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
