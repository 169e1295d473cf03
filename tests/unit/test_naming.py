"""Names of a store's files: one a kind and day, numbered ones, and none that leaves its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.error import SettingsError
from pipelines.naming import Naming, numbered


@pytest.mark.parametrize(
    ("name", "put_away"),
    [
        ("items.jsonl", "items-000007.jsonl"),
        ("items.jsonl.gz", "items-000007.jsonl.gz"),
        ("items.csv.zst", "items-000007.csv.zst"),
        ("pages.warc.gz", "pages-000007.warc.gz"),
        ("shop.de.jsonl", "shop.de-000007.jsonl"),
        ("items", "items-000007"),
        ("items.gz", "items-000007.gz"),
    ],
)
def test_numbered(name: str, put_away: str) -> None:
    assert numbered(name, 7) == put_away


@pytest.mark.parametrize(
    ("pattern", "kind", "name"),
    [
        ("items.jsonl", "quote", "items.jsonl"),
        ("{kind}.jsonl", "quote", "quote.jsonl"),
        ("{kind}-{date}.jsonl.gz", "shop.price", "shop.price-2026-01-31.jsonl.gz"),
        ("{date}.csv", "a/b", "2026-01-31.csv"),
        ("{kind}.jsonl", "../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.jsonl"),
        ("{kind}.jsonl", ".hidden", "%2Ehidden.jsonl"),
        ("{kind}.jsonl", "a b\0\n", "a%20b%00%0A.jsonl"),
        ("{kind}.jsonl", "{date}", "%7Bdate%7D.jsonl"),
        ("{kind}.jsonl", "x-000001", "x%2D000001.jsonl"),
        ("{kind}.jsonl", "", "%.jsonl"),
    ],
)
def test_names(pattern: str, kind: str, name: str) -> None:
    assert Naming(Path("/out") / pattern).name(kind, "2026-01-31") == name


def test_two_kinds_never_share_a_file() -> None:
    naming = Naming("/out/{kind}.jsonl")
    kinds = ["a", "A", "a/b", "a%2Fb", "", "%", ".", "..", "x" * 200, "x" * 201, "x" * 100, "x-000001", "x%2D000001"]
    names = [naming.name(kind, "") for kind in kinds]
    assert len(set(names)) == len(kinds)
    assert all(len(name) < 150 and "/" not in name and not name.startswith(".") for name in names)


@pytest.mark.parametrize(
    ("path", "message"),
    [("out/{kid}.jsonl", r"\{kid\} is not known"), ("out/{kind}/{date}.jsonl", "not in its folder's")],
)
def test_patterns_that_are_refused(path: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Naming(path)
