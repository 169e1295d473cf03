"""Which pages belong to a crawl: by host, by path and query, by depth. Pure; remembers its judgements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from crawler.error import BadUrl, SettingsError
from crawler.model import Request
from crawler.url import CACHED_CHARS_MAX, canonical, host, origin
from crawler.urlform import Form

JUDGED_MAX: Final = 50_000
"""URLs whose judgement is remembered; about 10 MB when full."""


class Scope:
    """Host patterns: `example.com` (any port), `example.com:8080`, `*.example.com` (its subdomains), `*` (all).
    Without any, a page's links are in scope on its own host."""

    def __init__(
        self,
        *,
        hosts: Iterable[str] = (),
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        depth_max: int | None = None,
        form: Form | None = None,
        segments_max: int = 0,
        params_max: int = 0,
    ) -> None:
        """include, exclude: regular expressions searched in path and query, in the form that `form` gives them.
        depth_max, segments_max, params_max (of path and query): None or 0 for no limit. Raises SettingsError for a
        pattern that is none."""
        self._hosts = frozenset(map(_host_pattern, hosts))
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._depth_max = depth_max or 0
        self._form = None if form is None or form.plain else form
        self._segments_max = segments_max
        self._params_max = params_max
        self._host_judged: dict[str, bool] = {}
        self._judged: dict[str, tuple[str, str]] = {}

    def admits(self, request: Request, *, from_host: str) -> bool:
        """Whether a request found on a page of `from_host` is in scope. Its URL must be canonical."""
        return not self.judge(request.url, from_host)[1] and not self.too_deep(request.depth)

    def formed(self, url: str) -> str:
        """A canonical URL in the form that makes one of all URLs of a page."""
        return self._form.of(url) if self._form is not None else url

    def too_deep(self, depth: int) -> bool:
        return 0 < self._depth_max < depth

    def judge(self, url: str, from_host: str, chars_max: int = 0) -> tuple[str, str]:
        """The canonical URL, and why it is refused: `scope`, `path_segments`, `query_params`, or BadUrl's reason; empty
        when it is not. `chars_max`: 0 for no limit but the URL's own. Cost: 0.1 µs for a URL judged lately, else 3
        µs."""
        judged = self._judged.get(url)
        if judged is None:
            if len(self._judged) >= JUDGED_MAX:
                self._judged.clear()
            judged = self._judge(url)
            if len(url) <= CACHED_CHARS_MAX:
                self._judged[url] = judged
        if judged[1]:
            return judged
        if 0 < chars_max < len(judged[0]):
            return judged[0], "too_long"
        if not self._hosts and host(judged[0]) != from_host:
            return judged[0], "scope"
        return judged

    @staticmethod
    def host_of(url: str) -> str:
        """What `from_host` is for links of a page at `url`."""
        return host(url)

    def _judge(self, url: str) -> tuple[str, str]:
        try:
            url = canonical(url)
        except BadUrl as error:
            return url, error.reason
        if self._form is not None:
            url = self._form.of(url)
        if 0 < self._segments_max < url.partition("?")[0].count("/") - 2:
            return url, "path_segments"
        if 0 < self._params_max <= url.count("&") and self._params_max < url.partition("?")[2].count("&") + 1:
            return url, "query_params"
        if self._hosts and not self._admits_host(host(url)):
            return url, "scope"
        if self._include or self._exclude:
            path = url[len(origin(url)) :]
            if any(pattern.search(path) for pattern in self._exclude):
                return url, "scope"
            if self._include and not any(pattern.search(path) for pattern in self._include):
                return url, "scope"
        return url, ""

    def _admits_host(self, name: str) -> bool:
        known = self._host_judged.get(name)
        if known is None:
            if len(self._host_judged) >= JUDGED_MAX:
                self._host_judged.clear()
            known = self._host_judged[name] = self._matches(name)
        return known

    def _matches(self, name: str) -> bool:
        bare = re.sub(r":\d+$", "", name)
        if "*" in self._hosts or name in self._hosts or bare in self._hosts:
            return True
        labels = bare.split(".")
        parents = [".".join(labels[start:]) for start in range(1, len(labels))]
        port = name[len(bare) :]
        return any(f"*.{parent}" in self._hosts or (port and f"*.{parent}{port}" in self._hosts) for parent in parents)


def _host_pattern(pattern: str) -> str:
    """In the form that hosts have in canonical URLs: lower case, IDNA, no port 80 or 443."""
    if pattern == "*":
        return pattern
    wildcard = "*." if pattern.startswith("*.") else ""
    try:
        if any(char in pattern for char in "/\\?#@"):
            raise BadUrl("not_a_url", pattern)
        return wildcard + host(canonical(f"http://{pattern.removeprefix(wildcard)}/"))
    except BadUrl:
        raise SettingsError(f"scope: {pattern!r} is not a host: example.com, *.example.com, example.com:8080") from None


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"scope: {pattern!r} is not a regular expression: {error}") from None
