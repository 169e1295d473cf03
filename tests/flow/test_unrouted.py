"""Items that no pipeline is bound to: kept by a broker, and told of by `crawler status`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crawler.cli import main
from crawler.exchange.memory import MemoryExchange
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.exchange.sqlite import SqliteExchange
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Queue, Rules
from crawler.tables import RabbitTable
from tests.contract.exchanges import message
from tests.contract.rabbit_exchange import shared_broker


def status(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    url = shared_broker().url
    assert main(["status", "--state", "lost.db", "--set", f"exchange.url={url}", *more]) == 0
    return capsys.readouterr().out


def test_status_tells_of_items_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    SqliteFrontier("lost.db", Rules(), name="lost").close()
    assert "no pipeline wanted" not in status(capsys), "nothing is declared yet"
    table = RabbitTable()
    with RabbitExchange(parse(shared_broker().url, table), table, name="lost", type="topic") as exchange:
        try:
            exchange.declare([Queue("store", ("shop.*",))])
            exchange.publish([message("1", "shop.book")])
            assert "no pipeline wanted" not in status(capsys)
            exchange.publish([message("2", "news"), message("3", "news")])
            assert "no pipeline wanted 2 messages: see bind" in status(capsys)
            assert json.loads(status(capsys, "--json"))["unrouted"] == 2
        finally:
            exchange.remove()


def test_a_crawl_in_a_file_or_in_memory_keeps_none(tmp_path: Path) -> None:
    for exchange in (MemoryExchange(type="topic"), SqliteExchange(tmp_path / "state.db", type="topic")):
        with exchange:
            exchange.declare([Queue("store", ("shop.*",))])
            exchange.publish([message("2", "news")])
            assert exchange.unrouted() == 0
