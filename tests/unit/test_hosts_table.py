"""The rate at which many hosts are asked, and the README's tables of it."""

from __future__ import annotations

import pytest

from tests.bench.hosts_table import Polite, Starts, Trips, render, steady_rate
from tests.sites.stamp import Stamp


def stamps(times: dict[str, list[float]]) -> list[Stamp]:
    return [Stamp(address, "/", came, came + 0.05) for address, found in times.items() for came in found]


def test_the_rate_is_counted_while_all_hosts_are_busy() -> None:
    found = stamps({"a": [0.0, 1.0, 2.0, 3.0, 4.0], "b": [1.5, 2.5, 3.5, 9.0]})
    assert steady_rate(found) == pytest.approx(5 / 2.5)  # from 1.5, when b began, to 4.0, when a had its last


def test_hosts_that_were_never_busy_together_have_no_rate() -> None:
    with pytest.raises(ValueError, match="more pages"):
        steady_rate(stamps({"a": [0.0, 1.0], "b": [2.0, 3.0]}))


def test_both_tables_are_rendered() -> None:
    starts = Starts(added=[0.1, 0.3, 0.2], freed=[0.01, 0.02, 0.06])
    polite = Polite(100, 4, 1.0, 0.15, 76.0, [1.5, 1.001, 1.2], starts, starts, 1.5, 4.0)
    text = render(polite, [Trips(200, 1_000, 1, 2, 2.0, 150)])
    assert "/ (delay + fetch + 0.1 s) would be 80 | 76 (95%) |" in text
    assert "| 1,001 ms · 1,200 ms · 1,500 ms |" in text
    assert "| 200 ms · 300 ms |" in text
    assert "| `per_host = 1` | 2 | 200 | 1,000 | 500 | 0.150 |" in text
