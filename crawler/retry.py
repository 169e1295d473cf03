"""What becomes of a page that failed: again later, or buried. Pure; the caller brings the dice.

blame  host   429, 503, DNS, connect, TLS: again, uncharged, when the host is asked again (its own backoff decides)
final         4xx but 408, 425, 429; refusals that a repeat cannot change: bury
blame  page   5xx, 408, time-outs, resets: again after a backoff that doubles, at most attempts_max times in all
spider        its exception would come again: bury with the traceback
"""

from __future__ import annotations

import msgspec

from crawler.error import SiteError, SpiderError
from crawler.model import Bury, Retry
from crawler.settings import Settings


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a crawl is; the fields are settings of `[frontier]` and `[retry]`."""

    attempts_max: int = 4
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """What the settings say."""
        return cls(
            attempts_max=settings.frontier.attempts_max,
            backoff_s=settings.retry.backoff_s,
            backoff_max_s=settings.retry.backoff_max_s,
        )


def judge(error: SiteError | SpiderError, attempts: int, policy: Policy, jitter: float) -> Retry | Bury:
    """The outcome of a page that failed `attempts` times before, with 0 <= `jitter` < 1.

    The wait is backoff_s * 2**attempts, at most backoff_max_s, of which the upper half is scaled by `jitter`; a
    Retry-After that asks for more is obeyed."""
    if isinstance(error, SpiderError) or error.final:
        return Bury(error.reason, error.detail)
    asked_s = error.retry_after_s or 0.0
    if error.blame == "host":
        return Retry(asked_s, error.reason, "host")
    if attempts + 1 >= policy.attempts_max:
        return Bury(error.reason, error.detail)
    # The exponent is capped so that a page with a thousand attempts does not overflow a float.
    backoff_s = min(policy.backoff_s * 2.0 ** min(attempts, 60), policy.backoff_max_s)
    return Retry(max(asked_s, backoff_s * (1.0 + jitter) / 2.0), error.reason)
