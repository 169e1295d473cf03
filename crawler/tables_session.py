"""The tables of settings.toml about where a crawl may connect to and who it is there: guard, sessions, proxies.

As in `crawler.tables`: the docstring under a field is its comment in settings.toml.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from crawler.tables import Positive, Table, TimeoutSeconds


class GuardTable(Table, frozen=True, kw_only=True):
    """Pages may not steer the crawl into private networks. What crawl.hosts, the spider and the seeds name is open."""

    enabled: bool = True
    """Whether private, loopback, link-local and reserved addresses and ports of other protocols are refused."""
    allow: tuple[str, ...] = ()
    """Further hosts (intranet.example, *.corp.example), addresses and networks (10.0.0.0/8) that are open, with a port
    (127.0.0.1:8000) or for all but the bad ones. Metadata and link-local addresses only by address or network."""
    resolve_proxied: bool = False
    """Whether names that a proxy looks up (http, https, socks5h) are looked up here too, to be judged."""


class SessionHost(Table, frozen=True, kw_only=True):
    """[session.hosts."example.com"]: what is sent to https://example.com and nowhere else. For plain HTTP say
    "http://example.com"; a port belongs to the name."""

    headers: dict[str, str] = field(default_factory=dict)
    """Headers by name."""
    user: str = ""
    """For basic authentication."""
    password: str = ""
    """Better not in a file that others read: password_env or password_file."""
    password_file: str = ""
    """A file whose first line is the password."""
    password_env: str = ""
    """A variable of the environment that has the password."""
    token: str = ""
    """For bearer authentication."""
    token_file: str = ""
    """A file whose first line is the token."""
    token_env: str = ""
    """A variable of the environment that has the token."""


class SessionTable(Table, frozen=True, kw_only=True):
    """Who the crawl is to the sites."""

    cookies: Literal["off", "memory"] = "off"
    """off, or memory: each worker keeps what hosts set, for the host or the domain that they name (RFC 6265; no public
    suffix), until it ends. Workers do not share cookies."""
    cookies_per_host_max: Positive = 50
    """Cookies kept per host or domain, and sent with a request; beyond it the oldest goes."""
    cookies_max: Positive = 10_000
    """Cookies kept per worker; beyond it those of the host that came first go."""
    cookie_bytes_max: Annotated[int, Meta(ge=1, le=65_536)] = 4_096
    """Longer cookies, name and value together, are not kept."""
    proxies: tuple[str, ...] = ()
    """All fetches go over one of these: http://[user:password@]host:port, https, socks5 (names are looked up here),
    socks5h (by the proxy)."""
    proxies_file: str = ""
    """A file with more of them, one a line: where their passwords are better kept."""
    proxy_choice: Literal["rotate", "host"] = "rotate"
    """rotate: one after the other; host: each host by one of them, as long as it works."""
    proxy_backoff_s: TimeoutSeconds = 10.0
    """Seconds that a proxy which failed is left out; doubles with each further failure. While all are out, the workers
    wait."""
    proxy_backoff_max_s: TimeoutSeconds = 600.0
    """Seconds that a proxy is left out at most."""
    hosts: dict[str, SessionHost] = field(default_factory=dict)
    """Tables [session.hosts."example.com"] with headers = {Name = "value"}, user and password, or token; the last two
    also as password_file, password_env, token_file, token_env. "example.com" is https://example.com, nothing else."""
