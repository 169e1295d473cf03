"""What an HTTP status means for a crawl: a page, a redirect, or an error with somebody to blame. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from crawler.error import SiteError
from crawler.model import Request
from crawler.url import join, origin

RETRY_AFTER_MAX_S: Final = 86_400.0
"""A Retry-After that asks for more is cut to it."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOST: Final = frozenset({429, 503})
_PRIVATE: Final = frozenset({"authorization", "proxy-authorization", "cookie", "host"})
_AGAIN: Final = frozenset({408, 425, 429})


def redirect_target(url: str, status: int, location: str | None) -> str | None:
    """Canonical target of a redirect (RFC 9110 §15.4); None when this is none.

    Raises SiteError `bad_redirect` when the Location cannot be followed."""
    if status not in _REDIRECTS or location is None:
        return None
    # Header bytes are UTF-8 in practice; the client gives those that are not as surrogates.
    target = join(url, location.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if target is None:
        raise SiteError("bad_redirect", f"Location {location[:200]!r}", final=True, status=status)
    return target


def redirected(request: Request, status: int, target: str) -> Request:
    """The request that follows a redirect: one more in `redirected_from`, all else the same, except that 303, and
    301 and 302 after a POST, become a GET without body, as browsers do (Fetch standard, HTTP-redirect fetch)."""
    method, body = request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
    return Request(
        url=target,
        method=method,
        headers=_headers_for(request, target, keeps_body=body == request.body),
        body=body,
        to=request.to,
        depth=request.depth,
        redirected_from=(*request.redirected_from, request.url),
        priority=request.priority,
        visit=request.visit,
        meta=request.meta,
    )


def site_error(status: int, phrase: str, retry_after: str | None, date: str | None = None) -> SiteError:
    """The error that a status other than 2xx and redirects means. 4xx is final but for 408, 425 and 429; 429 and 503
    are the host's. date: the answer's Date, by whose clock a date in Retry-After is meant."""
    return SiteError(
        f"http_{status}",
        phrase,
        blame="host" if status in _HOST else "page",
        final=status < 500 and status not in _AGAIN,
        status=status,
        retry_after_s=retry_after_s(retry_after, date=date) if retry_after else None,
    )


def retry_after_s(value: str, now: datetime | None = None, *, date: str | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, 0 to RETRY_AFTER_MAX_S; None when unreadable (RFC 9110 §10.2.3). Of
    two clocks, ours and the server's (date), the one by which it is longer counts."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Ten digits are enough, and int() refuses thousands of them.
        return min(float(value[:10]), RETRY_AFTER_MAX_S)
    until = _http_date(value)
    if until is None:
        return None
    theirs = _http_date(date) if date else None
    seconds = max((until - one).total_seconds() for one in (now or datetime.now(UTC), theirs) if one is not None)
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def _http_date(text: str) -> datetime | None:
    """An HTTP date in any of its forms; None for anything else."""
    from email.utils import parsedate_to_datetime  # the mail package, for a header that few servers send

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _headers_for(request: Request, target: str, *, keeps_body: bool) -> tuple[tuple[str, str], ...]:
    """Of the body only with it; what lets somebody in only to where it was meant for (Fetch standard, HTTP-redirect
    fetch)."""
    away = origin(target) != origin(request.url)
    return tuple(
        (name, value)
        for name, value in request.headers
        if (keeps_body or not name.lower().startswith("content-")) and not (away and name.lower() in _PRIVATE)
    )
