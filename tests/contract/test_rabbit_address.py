"""URLs of RabbitMQ, and where user and password may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.error import SettingsError
from crawler.exchange.rabbit.address import parse
from crawler.exchange.rabbit.names import names_of
from crawler.tables import RabbitTable


@pytest.mark.parametrize(
    ("url", "hosts", "vhost", "user", "password", "tls"),
    [
        ("amqp://mq", (("mq", 5672),), "/", "guest", "guest", False),
        ("amqp://mq/", (("mq", 5672),), "/", "guest", "guest", False),
        ("amqp://mq/%2F", (("mq", 5672),), "/", "guest", "guest", False),
        ("amqp://u:p@mq:1/crawl", (("mq", 1),), "crawl", "u", "p", False),
        ("amqps://u:p%40%2F@a,b:2,[::1]:3/a%2Fb", (("a", 5671), ("b", 2), ("::1", 3)), "a/b", "u", "p@/", True),
        ("AMQP://u@mq", (("mq", 5672),), "/", "u", "guest", False),
    ],
)
def test_parse(url: str, hosts: tuple[tuple[str, int], ...], vhost: str, user: str, password: str, tls: bool) -> None:
    address = parse(url, RabbitTable())
    assert (address.hosts, address.vhost, address.user, address.password, address.tls) == (
        hosts,
        vhost,
        user,
        password,
        tls,
    )


@pytest.mark.parametrize(
    ("url", "table", "told"),
    [
        ("amqp:mq", {}, "two slashes"),
        ("amqp://", {}, "a host is missing"),
        ("amqp://a,,b", {}, "a host is missing"),
        ("amqp://mq:0", {}, "its port"),
        ("amqp://mq:x", {}, "its port"),
        ("amqp://::1", {}, "brackets"),
        ("amqp://mq/a/b", {}, "%2F"),
        ("amqp://mq?heartbeat=1", {}, r"\[rabbit\]"),
        ("amqp://u:p@mq", {"password": "q"}, "both give a password"),
        ("amqp://u@mq", {"user": "v"}, "keep one of them"),
        ("amqp://mq", {"ca_file": "x"}, "without TLS"),
        ("amqps://mq", {"ca_file": "missing"}, "no such file"),
        ("amqps://mq", {"key_file": __file__}, "cert_file"),
        ("amqp://mq", {"password_file": "missing"}, "no such file"),
        ("amqp://" + ",".join("h" * 40), {}, "more than 32"),
    ],
)
def test_what_is_wrong_is_said(url: str, table: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as raised:
        parse(url, RabbitTable(**table))
    assert ":p@" not in str(raised.value)


def test_a_password_file_and_no_password_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\nsecond line\n")
    address = parse("amqp://u@mq", RabbitTable(password_file=str(tmp_path / "secret")))
    assert address.password == "s3cret"
    assert "s3cret" not in repr(address)
    assert "s3cret" not in repr(parse("amqp://u:s3cret@mq", RabbitTable()))


def test_no_crawls_queue_can_be_taken_for_another_crawls() -> None:
    """`a` with a pipeline `b.dead`-like name against `a.b`: a dot in a crawl's name is encoded."""
    first, second = names_of("a"), names_of("a.b")
    assert not set(first.line("b").all()) & set(second.line("dead").all())
    assert second.items.startswith("crawler.a%2Eb.")
    with pytest.raises(SettingsError, match="too long"):
        names_of("ż" * 60)
