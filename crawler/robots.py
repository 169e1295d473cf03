"""robots.txt (RFC 9309): which URLs of an origin may be asked for, by which line of it, and what an answer to the
question itself means.

The parser and the matcher are our own. protego 0.7, the maintained one in Python, leaves the RFC in grouping: product
tokens with a version or words behind them (§2.2.1), and groups that a Crawl-delay or an unknown line interrupts
(§2.2.4); it splits lines where str.splitlines does (§2.2: CR and LF only); and it tells no line. Google's
(jwm.robotstxt) reads the whole file again for every URL. `crawler.robots_match` decides between rules.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from crawler.error import SiteError
from crawler.response import Response
from crawler.robots_match import Matcher, Rule, path_of

ROBOTS_BYTES_MAX: Final = 500 * 1024
"""RFC 9309 §2.5: at least 500 KiB are read."""
EXPIRES_S: Final = 86_400.0
"""RFC 9309 §2.4: not used for longer than 24 hours."""
SITEMAPS_MAX: Final = 10_000

_LINE: Final = re.compile(r"\r\n|\r|\n")
_TOKEN: Final = re.compile(r"[a-zA-Z_-]+")
_COMPATIBLE: Final = re.compile(r"Mozilla/[\d.]+ \(compatible; ([a-zA-Z_-]+)")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{0,6})?|\.[0-9]{1,6}")
_AGENT: Final = frozenset({"user-agent", "useragent", "user agent"})
_ALLOW: Final = frozenset({"allow"})
_DISALLOW: Final = frozenset({"disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"})
_DELAY: Final = frozenset({"crawl-delay", "crawldelay", "crawl delay"})
_SITEMAP: Final = frozenset({"sitemap", "site-map"})
_KNOWN: Final = _AGENT | _ALLOW | _DISALLOW | _DELAY | _SITEMAP
_ROBOTS: Final = "/robots.txt"
_ENCODED: Final = "crawler.percent"
"""Octets that are no UTF-8 are kept, as a URL has them: a rule in Latin-1 is one for `/priv%E9`."""

_EVERYTHING: Final = Rule(allow=True, pattern="", line=0)
"""The answer where no line says anything."""

__all__ = ["EXPIRES_S", "ROBOTS_BYTES_MAX", "Rule", "Rules", "robots_from", "rules", "token_of"]


class _Group:
    """User-agent lines in a row, and what follows them."""

    def __init__(self) -> None:
        self.agents: set[str] = set()
        self.rules: list[Rule] = []
        self.delays: list[str] = []


class Rules:
    """One robots.txt, parsed once; asked per user agent."""

    def __init__(self, text: str) -> None:
        self._groups, self.sitemaps = _parse(text)
        self._of_agent: dict[str, _Agent] = {}

    def allowed(self, user_agent: str, url: str) -> bool:
        """Whether `user_agent` (its product token counts) may fetch `url`, best a canonical one. Cost: 2 µs."""
        return not self._groups or self._agent(user_agent).judge(url).allow

    def judge(self, user_agent: str, url: str) -> Rule:
        """The rule that decides, with its line; line 0 when none does and so the URL is allowed. Cost: as `allowed`."""
        return self._agent(user_agent).judge(url)

    def crawl_delay(self, user_agent: str) -> float | None:
        """Seconds that a Crawl-delay line asks for (no part of the RFC)."""
        return self._agent(user_agent).delay_s

    def _agent(self, user_agent: str) -> _Agent:
        agent = self._of_agent.get(user_agent)
        if agent is None:
            agent = self._of_agent[user_agent] = _Agent(_groups_for(self._groups, token_of(user_agent)))
        return agent


class _Agent:
    """The rules for one product token."""

    def __init__(self, groups: list[_Group]) -> None:
        self._matcher = Matcher(rule for group in groups for rule in group.rules)
        # The longest, for a Crawl-delay line does not end a group, and so may have been meant for another agent.
        values = (value for group in groups for value in group.delays)
        self.delay_s = max((float(value) for value in values if _SECONDS.fullmatch(value)), default=None)

    def judge(self, url: str) -> Rule:
        path = path_of(url)
        if path == _ROBOTS:  # RFC 9309 §2.2.2: implicitly allowed
            return _EVERYTHING
        return self._matcher.judge(path) or _EVERYTHING


def rules(text: str) -> Rules:
    """Never fails: what cannot be read is skipped, as the RFC wants. Cost: 1 µs a line."""
    return Rules(text)


def token_of(user_agent: str) -> str:
    """The product token of a user agent, in lower case: that of its first product, or of the second where the first one
    only says what browsers say (`Mozilla/5.0 (compatible; Bot/1.0)`); `*` when there is none."""
    found = _COMPATIBLE.match(user_agent)
    if found:
        return found[1].lower()
    found = _TOKEN.match(user_agent)
    return found[0].lower() if found else "*"


def robots_from(answer: Response | SiteError) -> tuple[str, float] | SiteError:
    """What an answer to a request for robots.txt means (RFC 9309 §2.3.1): text and how long it is valid, or the trouble
    that the host is in, because of which nothing of it may be fetched now.

    2xx: its rules. 4xx but 429, too many redirects, one to nowhere: everything is allowed. 429, 5xx, time-out, no
    connection, a body that cannot be read: trouble, to be retried and blamed on the host."""
    if isinstance(answer, Response):
        if answer.redirect is not None or answer.skipped or answer.status >= 300:
            return "", EXPIRES_S
        return answer.body[:ROBOTS_BYTES_MAX].decode("utf-8", _ENCODED).removeprefix("\ufeff"), EXPIRES_S
    if (400 <= answer.status < 500 and answer.status != 429) or answer.reason in ("redirects_max", "bad_redirect"):
        return "", EXPIRES_S
    return SiteError(
        f"robots_{answer.reason}",
        answer.detail,
        blame="host",
        status=answer.status,
        retry_after_s=answer.retry_after_s,
    )


def _percent(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{octet:02X}" for octet in error.object[error.start : error.end]), error.end


codecs.register_error(_ENCODED, _percent)


def _parse(text: str) -> tuple[list[_Group], tuple[str, ...]]:
    """Groups in order, and sitemaps. Only allow and disallow end the user-agent lines of a group (RFC 9309 §2.2.1)."""
    groups = [_Group()]
    sitemaps: list[str] = []
    in_rules = False
    for number, raw in enumerate(_LINE.split(text.removeprefix("\ufeff")), 1):
        field, value = _split(raw.partition("#")[0] if "#" in raw else raw)
        if not field:
            continue
        group = groups[-1]
        if field in _AGENT:
            if in_rules:
                group = _Group()
                groups.append(group)
                in_rules = False
            group.agents.add(_token(value))
        elif field in _SITEMAP:
            sitemaps.append(value)
        elif field in _DELAY:
            group.delays.append(value)
        else:
            in_rules = True
            if value and group.agents:
                group.rules.append(Rule(field in _ALLOW, value, number))
    return [group for group in groups if group.agents], tuple(sitemaps[:SITEMAPS_MAX])


def _split(line: str) -> tuple[str, str]:
    """Field name in lower case and value; the name is empty for a line that is none of ours. The colon may miss."""
    name, colon, value = line.partition(":")
    if colon:
        field = name.strip().lower()
        return (field, value.strip()) if field in _KNOWN else ("", "")
    words = line.split()
    if len(words) == 2 and words[0].lower() in _KNOWN:
        return words[0].lower(), words[1]
    return "", ""


def _token(value: str) -> str:
    """The product token of a user-agent line, in lower case, without what follows it (a version, words)."""
    if value.startswith("*") and (len(value) == 1 or value[1].isspace()):
        return "*"
    found = _TOKEN.match(value)
    return found[0].lower() if found else ""


def _groups_for(groups: list[_Group], token: str) -> list[_Group]:
    """All groups of a token; when there is none, those of `*` (RFC 9309 §2.2.1)."""
    of_token = [group for group in groups if token in group.agents]
    return of_token or [group for group in groups if "*" in group.agents]
