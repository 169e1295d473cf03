"""The address guard: which addresses and ports a crawl may connect to. Pure; it never looks a name up itself.

Pages choose most of the URLs that a crawl asks for, and must not steer it into the network that it runs in. So only
addresses of the public internet are connected to (IANA's special-purpose registries, RFC 6890), and no port of another
protocol (Fetch standard, "bad port"). What the user named is open: hosts of seeds and settings, and `guard.allow`.

A name is judged by the addresses it was looked up to, and connected to at one of those that passed: it is not looked up
again, so a second answer of its DNS server (rebinding) changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from crawler.address import is_address, network_of, number_of, rule_of
from crawler.error import BadUrl, SettingsError, SiteError
from crawler.url import canonical, host, origin

BAD_PORTS: Final = frozenset(
    (
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526),
        *(
            530,
            531,
            532,
            540,
            548,
            554,
            556,
            563,
            587,
            601,
            636,
            989,
            990,
            993,
            995,
            1719,
            1720,
            1723,
            2049,
            3659,
            4045,
        ),
        *(4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    )
)
"""Ports of other protocols (Fetch standard, port blocking)."""

PASSED_MAX: Final = 10_000
"""Origins that passed, and names that were public, are remembered so many at a time."""

OPENED_BY_NAME: Final = frozenset({"loopback", "private", "shared", "unique_local", "site_local", "benchmark"})
"""What a host name that the user named may lead to: where sites of one's own are. Never a cloud's metadata service or
anything link-local, which only its address or network in `guard.allow` opens: a name is at the mercy of its DNS."""


class Guard:
    """One for each process; a worker's learns further names (`learn`). Not thread-safe."""

    def __init__(
        self,
        *,
        enabled: bool = True,
        allow: Iterable[str] = (),
        hosts: Iterable[str] = (),
        named: Iterable[str] = (),
        resolve_proxied: bool = False,
    ) -> None:
        """allow: `guard.allow`. hosts: scope patterns from settings and spider; without a port they open every port but
        the bad ones, and `*.example.com` opens nothing. named: hosts of seeds, as `crawler.url.host`. Raises
        SettingsError for an entry of `allow` that is none."""
        self.resolve_proxied = resolve_proxied and enabled
        """Whether names that a proxy looks up are to be judged too."""
        self._enabled = enabled
        self._named = set(named)
        self._names: set[str] = set()
        self._endings: list[str] = []
        self._networks: list[tuple[int, int, int]] = []
        for one in allow:
            self._allow(one)
        for one in hosts:
            if "*" not in one:
                self._names.add(_host_of(one) or one)
        self._passed: set[str] = set()
        self._public: set[str] = set()

    def learn(self, named: Iterable[str]) -> bool:
        """Open further hosts of seeds; whether there was a new one."""
        before = len(self._named)
        self._named.update(named)
        return len(self._named) > before

    def check(self, url: str) -> None:
        """Judge the port of a canonical URL, and its host where that is an address. Raises SiteError `guard`, final.
        Cost: 0.2 µs for an origin that passed before, else 5 µs."""
        place = origin(url)
        if place in self._passed:
            return
        if self._enabled:
            name, port = _name_and_port(url)
            if port in BAD_PORTS and not self._is_open(name, port, with_port=True):
                raise _refused(f"port {port} is another protocol's", f"{name}:{port}")
            address = name.strip("[]") if name[0] == "[" or name[-1].isdigit() else ""
            rule = rule_of(address) if address and is_address(address) else ""
            if rule and not self._is_open(name, port) and not self._in_networks(address):
                raise _refused(f"{name} is {rule}", _entry(name, port))
        if len(self._passed) >= PASSED_MAX:
            self._passed.clear()
        self._passed.add(place)

    def choose(self, name: str, port: int, addresses: Sequence[str]) -> list[str]:
        """Of the addresses that a host name was looked up to, those that may be connected to. Raises SiteError `guard`,
        final, when there is none: a name that the user did not name leads to the public internet or nowhere, and so
        does one that the user named and that led there before."""
        if not self._enabled:
            return list(addresses)
        rules = [(one, rule_of(one)) for one in addresses]
        public = [one for one, rule in rules if not rule or self._in_networks(one)]
        if public:
            if len(self._public) >= PASSED_MAX:
                self._public.clear()
            self._public.add(name)
            return public
        if self._is_open(name, port) and name not in self._public:
            opened = [one for one, rule in rules if rule in OPENED_BY_NAME]
            if opened:
                return opened
        one, rule = rules[0] if rules else ("nowhere", "")
        opener = _entry(name, port) if rule in OPENED_BY_NAME and name not in self._public else one
        raise _refused(f"{name} is at {one}, which is {rule}", opener)

    def _allow(self, text: str) -> None:
        """An entry of `guard.allow`."""
        if network := network_of(text):
            self._networks.append(network)
        elif text.startswith("*.") and (name := _host_of(text[2:])):
            self._endings.append(f".{name}")
        elif name := _host_of(text):
            self._names.add(name)
        else:
            raise SettingsError(
                f"[guard] allow: {text!r} is no host, address or network: intranet.example, *.corp.example, "
                "127.0.0.1:8000, 10.0.0.0/8, [::1]"
            )

    def _is_open(self, name: str, port: int, *, with_port: bool = False) -> bool:
        """Whether the user named this host; `with_port`: together with this port."""
        place = f"{name}:{port}"
        if (name if port in (80, 443) else place) in self._named or place in self._names:
            return True
        if any(place.endswith(one) for one in self._endings):
            return True
        return not with_port and (name in self._names or any(name.endswith(one) for one in self._endings))

    def _in_networks(self, address: str) -> bool:
        if not self._networks:
            return False
        number, bits = number_of(address)
        return any(bits == of and number >> shift == prefix for prefix, shift, of in self._networks)


def _host_of(text: str) -> str:
    """A host as in canonical URLs, with the port that was given, also 80 and 443; empty for what is none."""
    head, colon, port = text.rpartition(":")
    has_port = bool(colon) and port.isdecimal() and (":" not in head or head.endswith("]"))
    if not text or any(char in text for char in "/\\?#@*"):
        return ""
    try:
        name = host(canonical(f"http://{head if has_port else text}/"))
    except BadUrl:
        return ""
    return f"{name}:{int(port[:6])}" if has_port else name


def _name_and_port(url: str) -> tuple[str, int]:
    """Host without port, and port, of a canonical URL."""
    place = url[url.index("//") + 2 : url.index("/", 8)]
    name, colon, port = place.rpartition(":")
    if colon and port.isdigit():
        return name, int(port)
    return place, 443 if url.startswith("https:") else 80


def _entry(name: str, port: int) -> str:
    return name if port in (80, 443) else f"{name}:{port}"


def _refused(what: str, opener: str) -> SiteError:
    return SiteError("guard", f'{what}; guard.allow = ["{opener}"] opens it', final=True)
