"""robots.txt (RFC 9309): which URLs of an origin may be asked for, and what an answer to the question itself means.

Patterns are matched by protego: maintained, pure Python, fast on many URLs. Google's own parser (jwm.robotstxt) was
compared: it reads the whole file again for every URL, and its last release has no wheel for Python 3.13. Where
protego 0.7 leaves the RFC is grouping (product tokens with a version or words behind them, groups interrupted by
Crawl-delay), so the groups of one product token are picked here and given to protego as the only ones.
"""

from __future__ import annotations

import re
from typing import Final

from crawler.error import SiteError
from crawler.response import Response

ROBOTS_BYTES_MAX: Final = 500 * 1024
"""RFC 9309 §2.5: at least 500 KiB are read."""
EXPIRES_S: Final = 86_400.0
"""RFC 9309 §2.4: not used for longer than 24 hours."""

_LINE: Final = re.compile(r"\r\n|\r|\n")
_TOKEN: Final = re.compile(r"[a-zA-Z_-]+")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{0,6})?|\.[0-9]{1,6}")
_AGENT: Final = frozenset({"user-agent", "useragent", "user agent"})
_ALLOW: Final = frozenset({"allow"})
_DISALLOW: Final = frozenset({"disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"})
_DELAY: Final = frozenset({"crawl-delay", "crawldelay", "crawl delay"})
_SITEMAP: Final = frozenset({"sitemap", "site-map"})
_KNOWN: Final = _AGENT | _ALLOW | _DISALLOW | _DELAY | _SITEMAP
# Protego splits lines where str.splitlines does; the RFC only at CR and LF.
_BREAKS: Final = {
    ord(char): "".join(f"%{byte:02X}" for byte in char.encode()) for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}

_Group = tuple[frozenset[str], list[tuple[str, str]]]


class Rules:
    """One robots.txt, parsed once; asked per user agent."""

    def __init__(self, text: str) -> None:
        self._groups, self.sitemaps = _parse(text)
        self._of_agent: dict[str, _Agent] = {}

    def allowed(self, user_agent: str, url: str) -> bool:
        """Whether `user_agent` (its product token counts) may fetch `url`, which is canonical. Cost: 5 µs."""
        if not self._groups:
            return True
        return self._agent(user_agent).allowed(url)

    def crawl_delay(self, user_agent: str) -> float | None:
        """Seconds that a Crawl-delay line asks for (no part of the RFC)."""
        return self._agent(user_agent).delay_s

    def _agent(self, user_agent: str) -> _Agent:
        agent = self._of_agent.get(user_agent)
        if agent is None:
            found = _TOKEN.match(user_agent)
            agent = self._of_agent[user_agent] = _Agent(_lines_for(self._groups, found[0].lower() if found else "*"))
        return agent


class _Agent:
    """The rules for one product token."""

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        from protego import Protego  # 5 ms that a crawl without robots.txt does not pay

        rules = [f"{field}: {value}" for field, value in lines if field != "crawl-delay"]
        self._protego = Protego.parse("\n".join(["user-agent: *", *rules])) if rules else None
        self.delay_s = _delay(lines)

    def allowed(self, url: str) -> bool:
        return self._protego is None or bool(self._protego.can_fetch(url, "*"))


def rules(text: str) -> Rules:
    """Never fails: what cannot be read is skipped, as the RFC wants. Cost: 1 µs a line."""
    return Rules(text)


def robots_from(answer: Response | SiteError) -> tuple[str, float] | SiteError:
    """What an answer to a request for robots.txt means (RFC 9309 §2.3.1): text and how long it is valid, or the trouble
    that the host is in, because of which nothing of it may be fetched now.

    2xx: its rules. 4xx but 429, too many redirects, one to nowhere: everything is allowed. 429, 5xx, time-out, no
    connection, a body that cannot be read: trouble, to be retried and blamed on the host."""
    if isinstance(answer, Response):
        if answer.redirect is not None or answer.skipped:
            return "", EXPIRES_S
        return answer.body[:ROBOTS_BYTES_MAX].decode("utf-8", "replace").removeprefix("\ufeff"), EXPIRES_S
    if (400 <= answer.status < 500 and answer.status != 429) or answer.reason in ("redirects_max", "bad_redirect"):
        return "", EXPIRES_S
    return SiteError(
        f"robots_{answer.reason}",
        answer.detail,
        blame="host",
        status=answer.status,
        retry_after_s=answer.retry_after_s,
    )


def _parse(text: str) -> tuple[list[_Group], tuple[str, ...]]:
    """Groups in order, and sitemaps. Only allow and disallow end the user-agent lines of a group (RFC 9309 §2.2.1)."""
    groups: list[_Group] = []
    sitemaps: list[str] = []
    agents: set[str] = set()
    lines: list[tuple[str, str]] = []
    in_rules = False
    for raw in _LINE.split(text.removeprefix("\ufeff")):
        field, value = _split(raw.partition("#")[0])
        if field in _AGENT:
            if in_rules:
                groups.append((frozenset(agents), lines))
                agents, lines, in_rules = set(), [], False
            agents.add(_token(value))
        elif field in _SITEMAP:
            sitemaps.append(value)
        elif agents and field in _DELAY:
            lines.append(("crawl-delay", value))
        elif field in _ALLOW or field in _DISALLOW:
            in_rules = True
            if agents:
                lines.append(("allow" if field in _ALLOW else "disallow", value.translate(_BREAKS)))
    groups.append((frozenset(agents), lines))
    return [group for group in groups if group[0]], tuple(sitemaps)


def _split(line: str) -> tuple[str, str]:
    """Field name in lower case and value; the name is empty for a line that is none of ours. Colons may miss."""
    name, colon, value = line.partition(":")
    field = name.strip().lower()
    if colon and field in _KNOWN:
        return field, value.strip()
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


def _lines_for(groups: list[_Group], token: str) -> list[tuple[str, str]]:
    """The lines of all groups of a token together; when there is none, those of `*` (RFC 9309 §2.2.1)."""
    of_token = [lines for agents, lines in groups if token in agents]
    chosen = of_token or [lines for agents, lines in groups if "*" in agents]
    return [line for lines in chosen for line in lines]


def _delay(lines: list[tuple[str, str]]) -> float | None:
    """The longest, for a Crawl-delay line does not end a group, and so may have been meant for another agent."""
    values = (value for field, value in lines if field == "crawl-delay")
    return max((float(value) for value in values if _SECONDS.fullmatch(value)), default=None)
