"""What becomes of a failed page: every reason, at every attempt."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crawler.error import SiteError, SpiderError
from crawler.httpstatus import RETRY_AFTER_MAX_S, redirect_target, redirected, retry_after_s, site_error
from crawler.model import Bury, Request, Retry
from crawler.retry import Policy, judge
from crawler.settings import Settings

POLICY = Policy(attempts_max=4, backoff_s=1.0, backoff_max_s=10.0)
HALF = 0.5
"""Jitter with which a wait is three quarters of its most."""


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 451, 304, 305])
def test_final_statuses_are_buried_at_once(status: int) -> None:
    assert judge(site_error(status, "why", None), 0, POLICY, HALF) == Bury(f"http_{status}", "why")


@pytest.mark.parametrize("status", [408, 425, 500, 502, 504, 507, 999])
def test_others_are_retried_and_then_buried(status: int) -> None:
    error = site_error(status, "why", None)
    reason = f"http_{status}"
    waits = [judge(error, attempts, POLICY, HALF) for attempts in range(4)]
    assert waits == [Retry(0.75, reason), Retry(1.5, reason), Retry(3.0, reason), Bury(reason, "why")]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("attempts", [0, 3, 100])
def test_a_host_in_trouble_costs_a_page_nothing(status: int, attempts: int) -> None:
    assert judge(site_error(status, "", None), attempts, POLICY, HALF) == Retry(0.0, f"http_{status}", "host")
    assert judge(site_error(status, "", "120"), attempts, POLICY, HALF) == Retry(120.0, f"http_{status}", "host")


@pytest.mark.parametrize("reason", ["dns", "connect", "tls", "timeout_connect"])
def test_no_connection_is_the_hosts(reason: str) -> None:
    assert judge(SiteError(reason, blame="host"), 9, POLICY, HALF) == Retry(0.0, reason, "host")


def test_jitter_takes_up_to_half_and_a_backoff_has_a_limit() -> None:
    error = SiteError("reset")
    assert judge(error, 2, POLICY, 0.0) == Retry(2.0, "reset")
    assert judge(error, 2, POLICY, 0.999999).delay_s == pytest.approx(4.0, abs=1e-4)  # type: ignore[union-attr]
    patient = Policy(attempts_max=10_000, backoff_s=1.0, backoff_max_s=10.0)
    assert judge(error, 9_000, patient, 0.0) == Retry(5.0, "reset")


def test_a_longer_retry_after_wins() -> None:
    assert judge(site_error(500, "", "60"), 0, POLICY, HALF) == Retry(60.0, "http_500")
    assert judge(site_error(500, "", "0"), 0, POLICY, HALF) == Retry(0.75, "http_500")


def test_a_spiders_error_is_buried_with_its_traceback() -> None:
    assert judge(SpiderError("spider_exception", "Traceback …"), 0, POLICY, HALF) == Bury(
        "spider_exception", "Traceback …"
    )


def test_what_is_final_is_buried() -> None:
    assert judge(SiteError("body_max", "too much", final=True), 0, POLICY, HALF) == Bury("body_max", "too much")


def test_one_attempt_means_no_retry() -> None:
    assert judge(SiteError("reset"), 0, Policy(attempts_max=1), HALF) == Bury("reset")


def test_a_policy_is_settings() -> None:
    settings = Settings()
    policy = Policy.of(settings)
    assert policy.attempts_max == settings.frontier.attempts_max
    assert (policy.backoff_s, policy.backoff_max_s) == (settings.retry.backoff_s, settings.retry.backoff_max_s)


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("99999999999999999999", RETRY_AFTER_MAX_S),
        ("9" * 10_000, RETRY_AFTER_MAX_S),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60.0),
        ("Thursday, 01-Jan-26 12:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", RETRY_AFTER_MAX_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Thu, 99 Foo 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "location", "target"),
    [
        (301, "/x", "http://h.example/x"),
        (302, "y#z", "http://h.example/a/y"),
        (303, "//o.example", "http://o.example/"),
        (307, "?q", "http://h.example/a/b?q"),
        (308, "https://o.example/é", "https://o.example/%C3%A9"),
        (301, "/caf\udcc3\udca9", "http://h.example/caf%C3%A9"),
        (301, None, None),
        (300, "/x", None),
        (304, "/x", None),
    ],
)
def test_redirect_target(status: int, location: str | None, target: str | None) -> None:
    assert redirect_target("http://h.example/a/b", status, location) == target


@pytest.mark.parametrize("location", ["mailto:x@h.example", "http://u:p@h.example/", "http://[", "x" * 100_000])
def test_a_redirect_to_nowhere_is_final(location: str) -> None:
    with pytest.raises(SiteError) as raised:
        redirect_target("http://h.example/", 302, location)
    assert raised.value.reason == "bad_redirect"
    assert raised.value.final


@pytest.mark.parametrize(
    ("method", "status", "after"),
    [
        ("GET", 301, "GET"),
        ("HEAD", 303, "HEAD"),
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("PUT", 302, "PUT"),
    ],
)
def test_redirected_keeps_what_it_may(method: str, status: int, after: str) -> None:
    body = b"" if method in ("GET", "HEAD") else b"a=1"
    headers = (("Content-Type", "x/y"), ("X-Mine", "1"))
    before = Request(
        url="http://h.example/1", method=method, body=body, headers=headers, to="detail", depth=2, priority=3
    )
    request = redirected(before, status, "http://h.example/2")
    assert (request.method, request.url, request.redirected_from) == (
        after,
        "http://h.example/2",
        ("http://h.example/1",),
    )
    assert (request.to, request.depth, request.priority) == ("detail", 2, 3)
    kept = after == method
    assert request.body == (body if kept else b"")
    assert request.headers == (headers if kept else headers[1:])


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Fri, 01 May 2026 11:59:00 GMT", 90.0),  # the server's clock is behind ours
        ("Fri, 01 May 2026 12:00:20 GMT", 30.0),
        ("yesterday", 30.0),
        (None, 30.0),
    ],
)
def test_a_date_in_retry_after_is_by_the_servers_clock(date: str | None, seconds: float) -> None:
    now = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_s("Fri, 01 May 2026 12:00:30 GMT", now, date=date) == seconds
