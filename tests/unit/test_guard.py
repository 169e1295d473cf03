"""The address guard: addresses by IANA's registries, names by where they lead, ports by the Fetch standard."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.address import rule_of
from crawler.error import SettingsError, SiteError
from crawler.guard import BAD_PORTS, Guard
from crawler.url import canonical

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "192.0.1.0"),
    *("2606:4700:4700::1111", "2a00:1450:4001::8a", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"),
    *("2002:808:808::1", "2001:200::1"),
]

REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.0.1": "link_local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "reserved",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmark",
    "198.19.255.255": "benchmark",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "compatible unspecified",
    "::127.0.0.1": "compatible loopback",
    "::ffff:127.0.0.1": "mapped loopback",
    "::ffff:169.254.169.254": "mapped metadata",
    "::ffff:a00:1": "mapped private",
    "::ffff:0:10.0.0.1": "translated private",
    "64:ff9b::10.0.0.1": "nat64 private",
    "64:ff9b::a9fe:a9fe": "nat64 metadata",
    "64:ff9b:1::808:808": "nat64_local",
    "2002:7f00:1::1": "6to4 loopback",
    "2002:a00:1::": "6to4 private",
    "2001:0:0:0:0:0:80ff:fffe": "teredo loopback",
    "2001:2::1": "benchmark",
    "2001:10::1": "reserved",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "2a00:1450::5efe:10.0.0.1": "isatap private",
    "100::1": "reserved",
    "5f00::1": "reserved",
    "4000::1": "reserved",
    "fc00::1": "unique_local",
    "fd12:3456::1": "unique_local",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    "fe80::1": "link_local",
    "fe80::1%eth0": "link_local",
    "febf::1": "link_local",
    "fec0::1": "site_local",
    "ff02::1": "multicast",
    "127.1": "reserved",
    "0x7f.0.0.1": "reserved",
    "": "reserved",
    "a name": "reserved",
    "1.2.3.4\x00": "reserved",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert rule_of(address) == ""


@pytest.mark.parametrize(("address", "rule"), REFUSED.items())
def test_others_are_refused_by_name(address: str, rule: str) -> None:
    assert rule_of(address) == rule


@given(st.ip_addresses(v=4).map(str))
def test_nothing_passes_that_python_calls_private(address: str) -> None:
    """Python's table is another reading of the same registry."""
    if not rule_of(address):
        one = ipaddress.IPv4Address(address)
        assert not any((one.is_private, one.is_loopback, one.is_multicast, one.is_reserved, one.is_link_local))
    for text in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert bool(rule_of(text)) == bool(rule_of(address))


@given(st.ip_addresses(v=6).map(str))
def test_ipv6_passes_only_from_the_global_space(address: str) -> None:
    if not rule_of(address):
        one = ipaddress.IPv6Address(address)
        assert int(one) >> 125 == 1 or one.ipv4_mapped or int(one) >> 32 in (0, 0xFFFF_0000, 0x64_FF9B << 64)


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(rule_of(text), str)


def refusal(guard: Guard, url: str) -> str:
    try:
        guard.check(canonical(url))
    except SiteError as error:
        return error.detail
    return ""


def test_a_refusal_is_final_and_the_pages_own() -> None:
    with pytest.raises(SiteError) as raised:
        Guard().check("http://127.0.0.1/")
    assert (raised.value.reason, raised.value.final, raised.value.blame) == ("guard", True, "page")
    with pytest.raises(SiteError) as raised:
        Guard().choose("localhost", 80, ["127.0.0.1"])
    assert (raised.value.reason, raised.value.final, raised.value.blame) == ("guard", True, "page")


LOOPBACK = [
    *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/"),
    *(
        "http://0x7f.1/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
    ),
    *("http://[::1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:127.0.0.1]/", "http://[0:0:0:0:0:0:0:1]/"),
    *("http://0/", "http://[::]/", "https://127.0.0.1:8443/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/"),
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_every_way_to_write_an_address_is_seen(url: str) -> None:
    assert refusal(Guard(), url)


def test_names_and_public_addresses_are_left_to_the_look_up() -> None:
    guard = Guard()
    for url in (
        "http://example.com/",
        "https://8.8.8.8/",
        "http://[2606:4700::1]:8080/",
        "http://localhost/",
        "http://a1/",
    ):
        assert not refusal(guard, url)


def test_a_refusal_tells_how_it_is_opened() -> None:
    detail = refusal(Guard(), "http://10.1.2.3:8080/x")
    assert detail == '10.1.2.3 is private; guard.allow = ["10.1.2.3:8080"] opens it'
    assert not refusal(Guard(allow=["10.1.2.3:8080"]), "http://10.1.2.3:8080/x")


@pytest.mark.parametrize("port", sorted(BAD_PORTS - {0}))
def test_ports_of_other_protocols_are_refused(port: int) -> None:
    url = f"http://example.com:{port}/"
    assert refusal(Guard(), url)
    assert refusal(Guard(hosts=["example.com"], allow=["example.com"]), url)
    assert not refusal(Guard(allow=[f"example.com:{port}"]), url)
    assert not refusal(Guard(hosts=[f"example.com:{port}"]), url)
    assert not refusal(Guard(named=[f"example.com:{port}"]), url)
    assert not refusal(Guard(enabled=False), url)


@pytest.mark.parametrize(
    ("options", "opened", "closed"),
    [
        (
            {"named": ["127.0.0.1:8000"]},
            ["127.0.0.1:8000"],
            ["127.0.0.1:8001", "127.0.0.1", "127.0.0.2:8000", "[::1]:8000"],
        ),
        ({"named": ["127.0.0.1"]}, ["127.0.0.1", "127.0.0.1:443"], ["127.0.0.1:8000", "127.0.0.1:6379"]),
        ({"named": ["[::1]:8000"]}, ["[::1]:8000"], ["[::1]", "127.0.0.1:8000"]),
        ({"hosts": ["127.0.0.1"]}, ["127.0.0.1", "127.0.0.1:8000"], ["127.0.0.2", "127.0.0.1:25"]),
        ({"hosts": ["127.0.0.1:8000"]}, ["127.0.0.1:8000"], ["127.0.0.1:8001"]),
        ({"hosts": ["*", "*.example"]}, [], ["127.0.0.1"]),
        ({"allow": ["10.0.0.0/8"]}, ["10.0.0.1", "10.255.0.1:8000"], ["11.0.0.1:25", "192.168.0.1", "[::1]"]),
        ({"allow": ["::1/128"]}, ["[::1]", "[::1]:99"], ["127.0.0.1", "[::ffff:7f00:1]"]),
        ({"allow": ["[::1]"]}, ["[::1]"], ["127.0.0.1"]),
        ({"allow": ["fd00::/8"]}, ["[fd12::1]"], ["[fe80::1]", "0.0.0.253"]),
        ({"allow": ["0.0.0.0/0"]}, ["127.0.0.1", "169.254.169.254"], ["[::1]"]),
        ({"allow": ["2130706433"]}, ["127.0.0.1"], ["127.0.0.2"]),
        ({"enabled": False}, ["127.0.0.1", "[fe80::1]", "169.254.169.254"], []),
    ],
)
def test_what_the_user_named_is_open_and_nothing_beside_it(
    options: dict[str, list[str]], opened: list[str], closed: list[str]
) -> None:
    guard = Guard(**options)  # type: ignore[arg-type]
    for _ in range(2):  # the second time remembered
        assert [place for place in opened if refusal(guard, f"http://{place}/x")] == []
        assert [place for place in closed if not refusal(guard, f"http://{place}/x")] == []


@pytest.mark.parametrize(
    "entry", ["", "a b", "http://a.example/", "a.example/x", "*", "*.", "10.0.0.0/33", "a@b", "a:b:c"]
)
def test_an_entry_that_is_none_is_told(entry: str) -> None:
    with pytest.raises(SettingsError, match="guard"):
        Guard(allow=[entry])


def chosen(guard: Guard, name: str, *addresses: str, port: int = 80) -> list[str] | str:
    try:
        return guard.choose(name, port, addresses)
    except SiteError as error:
        return error.detail


class TestNames:
    def test_only_public_addresses_are_used(self) -> None:
        answers = ("10.0.0.1", "93.184.216.34", "::1", "2606:4700::1", "169.254.169.254")
        for guard in (Guard(), Guard(named=["a.example"])):
            assert chosen(guard, "a.example", *answers) == ["93.184.216.34", "2606:4700::1"]

    def test_a_name_that_leads_inside_is_refused(self) -> None:
        said = chosen(Guard(), "a.example", "10.0.0.1", "::1")
        assert said == 'a.example is at 10.0.0.1, which is private; guard.allow = ["a.example"] opens it'
        assert isinstance(chosen(Guard(), "localhost", "127.0.0.1"), str)

    def test_named_names_may_lead_to_ones_own_network(self) -> None:
        for guard in (
            Guard(named=["wiki.corp.example:8080"]),
            Guard(hosts=["wiki.corp.example"]),
            Guard(allow=["wiki.corp.example:8080"]),
            Guard(allow=["*.corp.example"]),
            Guard(allow=["10.0.0.0/8"]),
        ):
            assert chosen(guard, "wiki.corp.example", "10.0.0.1", port=8080) == ["10.0.0.1"]
        assert isinstance(chosen(Guard(named=["wiki.corp.example:8080"]), "wiki.corp.example", "10.0.0.1"), str)
        assert isinstance(chosen(Guard(allow=["*.corp.example"]), "corp.example", "10.0.0.1"), str)
        assert isinstance(chosen(Guard(allow=["*.corp.example"]), "evilcorp.example", "10.0.0.1"), str)

    @pytest.mark.parametrize(
        "address", ["169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "224.0.0.1", "fd00:ec2::254"]
    )
    def test_no_name_leads_to_metadata_or_link_local(self, address: str) -> None:
        guard = Guard(named=["a.example"], hosts=["a.example"], allow=["a.example", "*.example"])
        said = chosen(guard, "a.example", address)
        assert isinstance(said, str)
        assert said.endswith(f'guard.allow = ["{address}"] opens it')
        assert chosen(Guard(allow=[address]), "a.example", address) == [address]

    def test_a_named_host_that_was_public_cannot_move_inside(self) -> None:
        """DNS rebinding: the owner of a seed's domain changes its address while it is crawled."""
        guard = Guard(named=["a.example", "b.example"])
        assert chosen(guard, "a.example", "93.184.216.34") == ["93.184.216.34"]
        assert isinstance(chosen(guard, "a.example", "10.0.0.1"), str)
        assert chosen(guard, "b.example", "10.0.0.1") == ["10.0.0.1"]

    def test_no_address_at_all(self) -> None:
        assert isinstance(chosen(Guard(), "a.example"), str)

    def test_off_is_off(self) -> None:
        assert chosen(Guard(enabled=False), "a.example", "10.0.0.1") == ["10.0.0.1"]


def test_a_worker_learns_further_names() -> None:
    guard = Guard(named=["127.0.0.1:1"])
    assert refusal(guard, "http://127.0.0.1:8001/")
    assert guard.learn(["127.0.0.1:8001"])
    assert not guard.learn(["127.0.0.1:8001"])
    assert not refusal(guard, "http://127.0.0.1:8001/")


def test_what_is_remembered_is_bounded() -> None:
    guard = Guard()
    for number in itertools.islice(itertools.count(), 25_000):
        guard.check(f"http://h{number}.example/")
    assert len(guard._passed) <= 10_000
