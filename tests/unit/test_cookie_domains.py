"""Which hosts get a cookie: RFC 6265 5.1.3, 5.2.3, 5.3 and 5.4, the Public Suffix List, RFC 6265bis 5.7."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cookies import Cookies
from crawler.suffix import is_public

NOW = 1_700_000_000.0


def sent(line: str, by: str, to: str) -> bool:
    """Whether a request to the URL `to` has the cookie that an answer of `by` sets."""
    jar = Cookies()
    jar.store(by, [line], NOW)
    return jar.header(to, NOW) == "a=1"


@pytest.mark.parametrize(
    ("domain", "by", "hosts", "others"),
    [
        # 5.3 step 6: without a Domain only the host itself
        ("", "www.example.com", ["www.example.com"], ["example.com", "a.www.example.com"]),
        ("Domain", "www.example.com", ["www.example.com"], ["example.com", "a.www.example.com"]),
        ("Domain=", "www.example.com", ["www.example.com"], ["example.com", "a.www.example.com"]),
        # 5.1.3: the host, and all that ends with a dot and it
        (
            "Domain=example.com",
            "www.example.com",
            ["example.com", "www.example.com", "a.b.example.com"],
            ["ample.com", "anexample.com", "example.com.evil.net", "com"],
        ),
        ("Domain=.EXAMPLE.com", "example.com", ["example.com", "www.example.com"], ["example.org"]),
        ("Domain=www.example.com", "www.example.com", ["www.example.com", "a.www.example.com"], ["example.com"]),
        ("Domain=example.co.uk", "a.example.co.uk", ["b.example.co.uk"], ["other.co.uk"]),
        ("Domain=intra.corp", "a.intra.corp", ["b.intra.corp"], ["a.corp"]),
        # 5.3 step 6: a Domain that does not cover the host that sets it
        ("Domain=other.com", "www.example.com", [], ["www.example.com", "other.com"]),
        ("Domain=a.www.example.com", "www.example.com", [], ["www.example.com", "a.www.example.com"]),
        ("Domain=ample.com", "www.example.com", [], ["www.example.com", "ample.com"]),
        ("Domain=example.com.", "www.example.com", [], ["www.example.com", "example.com"]),
        ("Domain=..example.com", "www.example.com", [], ["www.example.com", "example.com"]),
        # 5.3 step 5: public suffixes, also those of the list's private part
        ("Domain=com", "www.example.com", [], ["www.example.com", "example.com"]),
        ("Domain=co.uk", "a.example.co.uk", [], ["a.example.co.uk", "other.co.uk"]),
        ("Domain=github.io", "mine.github.io", [], ["mine.github.io", "yours.github.io"]),
        ("Domain=corp", "a.corp", [], ["a.corp", "b.corp"]),
        ("Domain=xn--55qx5d.cn", "a.xn--55qx5d.cn", [], ["a.xn--55qx5d.cn", "b.xn--55qx5d.cn"]),
        ("Domain=com.", "example.com.", [], ["example.com.", "other.com."]),
        # … but who is one may set its own, for itself
        ("Domain=github.io", "github.io", ["github.io"], ["mine.github.io"]),
        ("Domain=localhost", "localhost", ["localhost"], ["a.localhost"]),
        # 5.1.3: an IP address has no hosts below it
        ("Domain=127.0.0.1", "127.0.0.1", ["127.0.0.1"], ["1.127.0.0.1"]),
        ("Domain=0.0.1", "127.0.0.1", [], ["127.0.0.1"]),
        ("Domain=[2001:db8::1]", "[2001:db8::1]", ["[2001:db8::1]"], []),
        # the last one counts
        ("Domain=other.com; Domain=example.com", "www.example.com", ["example.com"], []),
    ],
)
def test_the_domain_attribute(domain: str, by: str, hosts: list[str], others: list[str]) -> None:
    line = f"a=1; Path=/; {domain}"
    for name in hosts:
        assert sent(line, f"https://{by}/", f"https://{name}/")
        assert sent(line, f"https://{by}:8443/x", f"http://{name}:81/")
    for name in others:
        assert not sent(line, f"https://{by}/", f"https://{name}/")


def test_path_secure_and_expiry_hold_for_all_hosts_of_a_domain() -> None:
    jar = Cookies()
    jar.store(
        "https://a.example.com/",
        [
            "p=1; Domain=example.com; Path=/shop",
            "s=2; Domain=example.com; Path=/; Secure",
            "e=3; Domain=example.com; Path=/; Max-Age=10",
        ],
        NOW,
    )
    assert jar.header("https://b.example.com/shop/x", NOW) == "p=1; s=2; e=3"
    assert jar.header("https://b.example.com/", NOW) == "s=2; e=3"
    assert jar.header("http://b.example.com/", NOW) == "e=3"
    assert jar.header("https://b.example.com/shop", NOW + 11) == "p=1; s=2"


def test_a_domains_cookie_and_a_hosts_own_are_two() -> None:
    jar = Cookies()
    jar.store("https://example.com/", ["a=host", "a=domain; Domain=example.com"], NOW)
    assert jar.header("https://example.com/", NOW) == "a=host; a=domain"
    assert jar.header("https://www.example.com/", NOW) == "a=domain"
    jar.store("https://www.example.com/", ["a=new; Domain=example.com"], NOW)
    assert jar.header("https://example.com/", NOW) == "a=host; a=new"
    jar.store("https://www.example.com/", ["a=; Domain=example.com; Max-Age=0"], NOW)
    assert jar.header("https://example.com/", NOW) == "a=host"
    assert len(jar) == 1


def test_a_host_cookie_has_no_domain() -> None:
    assert not sent("__Host-a=1; Secure; Path=/; Domain=example.com", "https://example.com/", "https://example.com/")
    jar = Cookies()
    jar.store("https://example.com/", ["__Secure-a=1; Secure; Domain=example.com"], NOW)
    assert jar.header("https://b.example.com/", NOW) == "__Secure-a=1"


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("http://example.com/", "a=evil; Domain=example.com; Path=/"),
        ("http://www.example.com/", "a=evil; Path=/"),
        ("http://www.example.com/", "a=evil; Path=/x"),
        ("http://www.example.com/", "a=evil; Domain=www.example.com; Path=/"),
    ],
)
def test_plain_http_sets_nothing_over_a_secure_cookie(by: str, line: str) -> None:
    jar = Cookies()
    jar.store("https://example.com/", ["a=1; Domain=example.com; Path=/; Secure"], NOW)
    jar.store(by, [line], NOW)
    assert jar.header("https://www.example.com/x", NOW) == "a=1"
    jar.store("http://www.example.com/", ["b=2"], NOW)
    assert jar.header("https://www.example.com/", NOW) == "a=1; b=2"


def test_a_secure_cookie_that_expired_hides_none() -> None:
    jar = Cookies()
    jar.store("https://example.com/", ["a=1; Secure; Max-Age=5"], NOW)
    jar.store("http://example.com/", ["a=early"], NOW + 4)
    assert jar.header("http://example.com/", NOW + 4) == ""
    jar.store("http://example.com/", ["a=2"], NOW + 5)
    assert jar.header("http://example.com/", NOW + 5) == "a=2"


def test_limits_hold_for_domains_and_for_what_one_request_carries() -> None:
    jar = Cookies(per_host_max=3, total_max=12)
    host = "h.g.f.e.d.c.b.a.example.com"
    for start in range(8):
        domain = host.split(".", start)[-1]
        jar.store(f"https://{host}/", [f"c{start}{number}=1; Domain={domain}; Path=/" for number in range(5)], NOW)
        assert len(jar) <= 12
    assert jar.header(f"https://{host}/", NOW).count("=") == 3
    assert jar.header("https://a.example.com/", NOW) == "c72=1; c73=1; c74=1"


LABELS = st.lists(st.sampled_from(["a", "b", "com", "co", "uk", "github", "io", "127", "1"]), min_size=1, max_size=5)


@given(LABELS, LABELS, LABELS)
def test_no_cookie_leaves_the_domain_of_who_set_it(by: list[str], domain: list[str], to: list[str]) -> None:
    setter, named, asked = ".".join(by), ".".join(domain), ".".join(to)
    if sent(f"a=1; Domain={named}; Path=/", f"https://{setter}/", f"https://{asked}/"):
        assert setter == named or setter.endswith(f".{named}")
        assert asked == named or asked.endswith(f".{named}")
        assert asked == setter or not is_public(named)
