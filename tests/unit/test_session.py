"""Sessions: cookies by RFC 6265 and 6265bis, headers for one origin, secrets that are not shown, proxies in turn."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cookies import AGE_MAX_S, Cookies, date, parse
from crawler.error import SettingsError
from crawler.proxy import Proxy, Rotation
from crawler.proxy import parse as proxy_of
from crawler.session import Session, merged, session_of
from crawler.settings import load
from crawler.tables_session import SessionHost, SessionTable

NOW = 1_700_000_000.0
PAGE = "https://www.example.com/shop/list?a=/b"


def kept(*lines: str, url: str = PAGE, asked: str | None = None, **limits: int) -> str:
    """The Cookie header for `asked` after `url` has set these."""
    jar = Cookies(**limits)
    jar.store(url, lines, NOW)
    return jar.header(asked or url, NOW)


class TestCookies:
    @pytest.mark.parametrize(
        ("line", "sent"),
        [
            ("a=1", "a=1"),
            ("  a = 1 ; Path=/", "a=1"),
            ('a="1 2"', 'a="1 2"'),
            ("a=b=c", "a=b=c"),
            ("a=", "a="),
            ("=1", "1"),
            ("only", "only"),
            ("a=1; Path=elsewhere", "a=1"),
            ("a=1; Path=/shop", "a=1"),
            ("a=1; Path=/shop/", "a=1"),
            ("a=1; Path=/sho", ""),
            ("a=1; Path=/shop/list", "a=1"),
            ("a=1; Path=/other", ""),
            ("a=1; Secure", "a=1"),
            ("a=1; Domain=example.com", "a=1"),
            ("a=1; Domain=.example.com", "a=1"),
            ("a=1; Domain=WWW.EXAMPLE.COM", "a=1"),
            ("a=1; Domain=other.com", ""),
            ("a=1; Domain=ample.com", ""),
            ("a=1; Domain=shop.www.example.com", ""),
            ("a=1; Max-Age=0", ""),
            ("a=1; Max-Age=-1", ""),
            ("a=1; Max-Age=10", "a=1"),
            ("a=1; Max-Age=x", "a=1"),
            ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
            ("a=1; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "a=1"),
            ("a=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=1"),
            ("a=1; Expires=whenever", "a=1"),
            ("__Secure-a=1; Secure", "__Secure-a=1"),
            ("__Secure-a=1", ""),
            ("__Host-a=1; Secure; Path=/", "__Host-a=1"),
            ("__Host-a=1; Secure", ""),
            ("__Host-a=1; Secure; Path=/; Domain=www.example.com", ""),
            ("=__Secure-a=1", ""),
            ("a=1\x002", ""),
            ("a=1\r\nX: y", ""),
            ("", ""),
            (";", ""),
            ("=", ""),
        ],
    )
    def test_a_line_is_read_as_browsers_do(self, line: str, sent: str) -> None:
        assert kept(line) == sent

    def test_a_cookie_stays_with_its_host_or_domain(self) -> None:
        lines = ("a=1; Domain=example.com; Path=/", "b=2; Path=/")
        assert kept(*lines, asked="https://www.example.com:8443/x") == "a=1; b=2"
        for other in ("https://example.com/", "https://shop.example.com/"):
            assert kept(*lines, asked=other) == "a=1"
        assert kept(*lines, asked="https://www.example.com.evil.net/") == ""

    def test_secure_cookies_need_https(self) -> None:
        assert kept("a=1; Secure; Path=/", asked="http://www.example.com/") == ""
        assert kept("a=1; Secure; Path=/", url="http://www.example.com/") == ""
        jar = Cookies()
        jar.store("https://h.example/", ["a=1; Secure"], NOW)
        jar.store("http://h.example/", ["a=evil"], NOW)
        assert jar.header("https://h.example/", NOW) == "a=1"

    def test_longer_paths_go_first_then_the_older(self) -> None:
        assert kept("a=1; Path=/", "b=2; Path=/shop", "c=3; Path=/", "a=4; Path=/") == "b=2; a=4; c=3"

    def test_they_expire(self) -> None:
        jar = Cookies()
        jar.store(PAGE, ["a=1; Max-Age=10", "b=2", f"c=3; Max-Age={10**15}"], NOW)
        assert jar.header(PAGE, NOW + 9) == "a=1; b=2; c=3"
        assert jar.header(PAGE, NOW + 11) == "b=2; c=3"
        assert jar.header(PAGE, NOW + AGE_MAX_S + 1) == "b=2"
        jar.store(PAGE, ["b=; Max-Age=0"], NOW)
        assert jar.header(PAGE, NOW) == "a=1; c=3"

    def test_limits(self) -> None:
        jar = Cookies(per_host_max=3, total_max=10, bytes_max=8)
        for host in range(9):
            jar.store(f"https://h{host}.example/", [f"c{number}=1" for number in range(5)], NOW)
            assert len(jar) <= 10
        assert jar.header("https://h8.example/", NOW) == "c2=1; c3=1; c4=1"
        assert jar.header("https://h0.example/", NOW) == ""
        assert kept("name=long-value", bytes_max=8) == ""
        assert kept(f"a=1; Path=/{'x' * 2000}") == "a=1"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("08:49:37 6 November 94", 784_111_777),
            ("06-Nov-1994 08:49:37", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("6 Nov 1994", None),
            ("08:49:37 Nov 1994", None),
            ("31 Feb 2000 00:00:00", None),
            ("1 Jan 1600 00:00:00", None),
            ("1 Jan 2000 24:00:00", None),
            ("", None),
        ],
    )
    def test_dates(self, text: str, seconds: float | None) -> None:
        assert date(text) == seconds

    @given(st.text(max_size=300))
    def test_any_line_is_kept_or_ignored(self, line: str) -> None:
        cookie = parse(line, host="h.example", path="/", secure=True, now_s=NOW)
        assert cookie is None or "\n" not in cookie.name + cookie.value
        date(line)


class TestHeaders:
    def test_they_are_for_one_origin(self) -> None:
        table = SessionTable(
            hosts={
                "example.com": SessionHost(token="t"),
                "example.com:8443": SessionHost(user="ü", password="p:w"),
                "http://127.0.0.1:8000": SessionHost(headers={"X-Key": "k", "Accept-Language": "de"}),
            }
        )
        found = session_of(table, {}).headers
        assert found["https://example.com"] == (("Authorization", "Bearer t"),)
        assert b64decode(found["https://example.com:8443"][0][1].removeprefix("Basic ")).decode() == "ü:p:w"
        assert found["http://127.0.0.1:8000"] == (("X-Key", "k"), ("Accept-Language", "de"))
        assert len(found) == 3

    def test_secrets_come_from_files_and_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from-file\nsecond line\n")
        hosts = {
            "a.example": SessionHost(token_file=str(tmp_path / "secret")),
            "b.example": SessionHost(user="u", password_env="PW"),
        }
        found = session_of(SessionTable(hosts=hosts), {"PW": "from-env"}).headers
        assert found["https://a.example"] == (("Authorization", "Bearer from-file"),)
        assert b64decode(found["https://b.example"][0][1].removeprefix("Basic ")) == b"u:from-env"

    @pytest.mark.parametrize(
        ("name", "host", "said"),
        [
            ("example.com/path", SessionHost(), "not a host"),
            ("*.example.com", SessionHost(), "not a host"),
            ("ftp://example.com", SessionHost(), "not a host"),
            ("https://u:hush@example.com", SessionHost(), "not a host"),
            ("", SessionHost(), "not a host"),
            ("h.example", SessionHost(token="hush", user="u"), "not both"),
            ("h.example", SessionHost(password="hush"), "without user"),
            ("h.example", SessionHost(user="a:b", password="hush"), "colon"),
            ("h.example", SessionHost(token="hush", token_env="X"), "one of token"),
            ("h.example", SessionHost(token_env="NOT_THERE"), "NOT_THERE"),
            ("h.example", SessionHost(token_file="/nowhere/at/all"), "/nowhere/at/all"),
            ("h.example", SessionHost(headers={"User-Agent": "x"}), "fetch.user_agent"),
            ("h.example", SessionHost(headers={"host": "x"}), "cannot be set"),
            ("h.example", SessionHost(headers={"a b": "x"}), "no name"),
            ("h.example", SessionHost(headers={"A": "hush\r\nB: c"}), "line break"),
            ("h.example", SessionHost(token="hush\nX: y"), "line break"),
        ],
    )
    def test_what_is_wrong_is_told_without_the_secret(self, name: str, host: SessionHost, said: str) -> None:
        with pytest.raises(SettingsError, match=said) as raised:
            session_of(SessionTable(hosts={name: host}), {})
        assert "hush" not in str(raised.value)

    def test_a_requests_own_headers_win(self) -> None:
        assert merged((), (("A", "1"),)) == (("A", "1"),)
        assert merged((("authorization", "mine"),), (("Authorization", "x"), ("B", "2"))) == (
            ("authorization", "mine"),
            ("B", "2"),
        )

    def test_nothing_shows_a_secret(self, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text(
            '[session]\nproxies = ["http://user:hush@p.example"]\n'
            '[session.hosts."h.example"]\ntoken = "hush"\nheaders = { X-Key = "hush" }\n'
            '[session.hosts."i.example"]\nuser = "u"\npassword = "hush"\n'
        )
        settings = load(str(tmp_path / "s.toml"))
        session = session_of(settings.session, {})
        for shown in (
            repr(settings),
            str(settings.session),
            repr(session),
            str(session.proxies),
            str(list(settings.__rich_repr__())),
        ):
            assert "hush" not in shown
        assert session.headers["https://h.example"] == (("X-Key", "hush"), ("Authorization", "Bearer hush"))
        assert session.secrets() == {"x-key", "authorization"}

    @pytest.mark.parametrize(
        "override",
        [
            'session.hosts={"h.example" = {tokn = "hush"}}',
            'session.hosts={"h.example" = {token = 3}}',
            'session.hosts={"h.example" = "hush"}',
            'session.hosts="hush:hush@hush"',
            'session.proxies=["http://u:hush@p", 3]',
            "session.proxies=http://u:hush@p",
            "session.cookies=always",
        ],
    )
    def test_a_wrong_type_is_told_without_the_secret(self, override: str) -> None:
        with pytest.raises(SettingsError, match=r"session\.") as raised:
            load(None, overrides=[override])
        assert "u:hush" not in str(raised.value)
        assert '"hush"' not in str(raised.value).replace('"hush:hush@hush"', "")


class TestProxies:
    @pytest.mark.parametrize(
        ("url", "shown", "user", "password"),
        [
            ("http://p.example:3128", "http://p.example:3128", "", ""),
            ("http://p.example", "http://p.example:80", "", ""),
            ("https://u@p.example/", "https://***@p.example:443", "u", ""),
            ("socks5://u%40x:p%3Aw@127.0.0.1", "socks5://***@127.0.0.1:1080", "u@x", "p:w"),
            ("socks5h://[::1]:9050", "socks5h://[::1]:9050", "", ""),
        ],
    )
    def test_urls(self, url: str, shown: str, user: str, password: str) -> None:
        proxy = proxy_of(url)
        assert (str(proxy), repr(proxy), proxy.user, proxy.password) == (shown, shown, user, password)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "p.example:3128",
            "ftp://p",
            "socks4://p",
            "http://u:hush@",
            "http://p:0",
            "http://p:99999",
            "http://u:hush@p/x",
            "socks5://u:hush%C3%BC@p",
        ],
    )
    def test_what_is_none_is_told(self, url: str) -> None:
        with pytest.raises(SettingsError, match="proxies") as raised:
            proxy_of(url)
        assert "hush" not in str(raised.value)

    def test_a_file_adds_to_the_list(self, tmp_path: Path) -> None:
        (tmp_path / "p").write_text("# ours\nhttp://b.example\n\nhttp://a.example\n")
        session = session_of(SessionTable(proxies=("http://a.example",), proxies_file=str(tmp_path / "p")), {})
        assert [proxy.host for proxy in session.proxies] == ["a.example", "b.example"]
        with pytest.raises(SettingsError, match="proxies_file"):
            session_of(SessionTable(proxies_file=str(tmp_path / "none")), {})

    def test_in_turn(self) -> None:
        rotation = Rotation(THREE)
        assert [rotation.choose("h", 0.0) for _ in range(6)] == THREE * 2

    def test_by_host(self) -> None:
        rotation = Rotation(THREE, choice="host")
        before = {f"h{number}": rotation.choose(f"h{number}", 0.0) for number in range(60)}
        assert set(before.values()) == set(THREE)
        assert all(rotation.choose(host, 1.0) == proxy for host, proxy in before.items())
        rotation.failed(THREE[0], 1.0)
        after = {host: rotation.choose(host, 2.0) for host in before}
        assert all(after[host] == proxy for host, proxy in before.items() if proxy != THREE[0])
        assert THREE[0] not in after.values()

    def test_one_that_fails_is_left_out_longer_and_longer(self) -> None:
        rotation = Rotation(THREE[:1], backoff_s=10.0, backoff_max_s=35.0)
        now = 0.0
        for pause_s in (10.0, 20.0, 35.0, 35.0):
            assert rotation.choose("h", now) == THREE[0]
            assert rotation.failed(THREE[0], now) == pause_s
            assert rotation.choose("h", now + pause_s - 0.1) is None
            assert rotation.wait_s(now + 1.0) == pause_s - 1.0
            now += pause_s
        assert rotation.choose("h", now) == THREE[0]
        assert rotation.choose("h", now) is None, "one request finds out, the others wait"
        rotation.worked(THREE[0])
        assert rotation.choose("h", now) == rotation.choose("h", now) == THREE[0]

    def test_doubts_add_up_unless_it_works(self) -> None:
        rotation = Rotation(THREE[:1])
        for _ in range(5):
            rotation.doubted(THREE[0], 0.0)
            rotation.doubted(THREE[0], 0.0)
            rotation.worked(THREE[0])
        assert rotation.choose("h", 0.0) == THREE[0]
        for _ in range(3):
            rotation.doubted(THREE[0], 0.0)
        assert rotation.choose("h", 0.0) is None

    def test_without_proxies_and_cookies_there_is_nothing_to_do(self) -> None:
        assert Session().rotation() is None
        assert Session().jar() is None
        assert Session().secrets() == frozenset()


THREE = [Proxy(scheme="http", host=f"p{number}", port=80) for number in range(3)]
