"""Registrable domains of hosts, as the frontier counts by them."""

from __future__ import annotations

import pytest

from crawler.frontier.domain import domain_of
from crawler.frontier.redis.shards import shard_of


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com:8080", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("localhost:8000", "localhost"),
        ("a.unknown-ending", "a.unknown-ending"),
        ("x.a.unknown-ending", "a.unknown-ending"),
        ("alice.blogspot.com", "blogspot.com"),
        ("www.ck", "www.ck"),
        ("b.c.kobe.jp", "b.c.kobe.jp"),
        ("a.b.c.kobe.jp", "b.c.kobe.jp"),
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:81", "10.0.0.1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:81", "[2001:db8::1]"),
    ],
)
def test_domain_of(host: str, domain: str) -> None:
    assert domain_of(host) == domain
    assert shard_of(host, 97) == shard_of(domain, 97), "a domain never spans shards"
