"""Politeness on Redis as 500 hosts see it: four workers together keep each one's delay, and miss none of its pages."""

from __future__ import annotations

from pathlib import Path

from tests.servers.redis import RedisServer
from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.many import addresses, answering
from tests.sites.stamp import StampServer

HOSTS = 500
PAGES = 5
DELAY_S = 1.0
WORKERS = 4


def test_four_workers_keep_the_delay_of_500_hosts(tmp_path: Path) -> None:
    with RedisServer() as redis, StampServer(answering(PAGES), slow_s=0.05) as site:
        seeds = tmp_path / "seeds.txt"
        seeds.write_text("\n".join(f"http://{address}:{site.port}/" for address in addresses(HOSTS)))
        options = ["--seeds", str(seeds), "-w", str(WORKERS), "--delay", str(DELAY_S)]
        crawl = Crawl(tmp_path, options, url=redis.url)
        report = crawl.run()
        assert report["exit"] == 0, crawl.errors
        gaps = site.gaps()
        assert len(gaps) == HOSTS
        assert min(gap for host in gaps.values() for gap in host) >= DELAY_S
        paths = ["/robots.txt", "/", *(f"/page/{number}.html" for number in range(PAGES))]
        for address in gaps:
            asked = [stamp.path for stamp in site.stamps if stamp.address == address]
            assert sorted(asked) == sorted(paths)  # each once, one robots.txt for the whole fleet
        stored = urls_of_jsonl(tmp_path / "out.jsonl")
        assert set(stored.values()) == {1}
        assert set(stored) == {f"http://{at}:{site.port}{path}" for at in gaps for path in paths[1:]}
        counts = crawl.counts()
        assert (counts.done, counts.dead) == (HOSTS * (1 + PAGES), 0), counts
        assert not counts.retries, counts.reasons
        assert len([row for row in crawl.workers() if row.pages]) == WORKERS
