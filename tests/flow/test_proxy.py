"""Sessions and proxies over real sockets: what goes to whom, and whose fault it is when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from crawler.error import SettingsError, SiteError
from crawler.fetch import Fetcher
from crawler.guard import Guard
from crawler.model import Request
from crawler.proxy import Proxy
from crawler.raw import Take
from crawler.session import Session, session_of
from crawler.tables import FetchTable
from crawler.tables_session import SessionHost, SessionTable
from tests.servers.certificates import make_certificates
from tests.servers.proxy import ProxyServer
from tests.sites.echo import Echo

HANG_S = 30.0
ANY = FetchTable(content_types=(), connect_s=2.0, first_byte_s=5.0, total_s=10.0)
OPEN = Guard(allow=["127.0.0.1"])
NAME = "http://site.example/page"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tls")
    make_certificates(home)
    return home


def guarded(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(HANG_S):
            return await main()

    return asyncio.run(limited())


def over(*proxies: ProxyServer | int, scheme: str = "", user: str = "", password: str = "", **options: Any) -> Session:
    """A session over these proxies; a number is a port where nothing listens."""
    made = [
        Proxy(
            scheme=scheme or (proxy.kind if isinstance(proxy, ProxyServer) else "http"),  # type: ignore[arg-type]
            host="127.0.0.1",
            port=proxy.port if isinstance(proxy, ProxyServer) else proxy,
            user=user,
            password=password,
        )
        for proxy in proxies
    ]
    return Session(proxies=tuple(made), **options)


async def got(session: Session, url: str, settings: FetchTable = ANY, guard: Guard = OPEN, **options: Any) -> Any:
    async with Fetcher(settings, guard=guard, session=session, **options) as fetcher:
        return json.loads((await fetcher.fetch(Request(url=url))).body)


async def failure(session: Session, url: str, settings: FetchTable = ANY, guard: Guard = OPEN) -> SiteError:
    async with Fetcher(settings, guard=guard, session=session) as fetcher:
        with pytest.raises(SiteError) as raised:
            await fetcher.fetch(Request(url=url))
    return raised.value


# -- headers and cookies ----------------------------------------------------------------------------------------------


def test_headers_go_to_their_origin_and_not_along_with_redirects() -> None:
    async def main() -> None:
        async with Echo("127.0.0.1", "127.0.0.2") as site:
            site.answers["/away"] = (f"302 Found\r\nLocation: {site.url('/there', '127.0.0.2')}", "")
            site.answers["/near"] = ("302 Found\r\nLocation: /here", "")
            host = SessionHost(token="hush", headers={"X-Key": "k"})
            session = session_of(SessionTable(hosts={site.url("").rstrip("/"): host}), {})
            async with Fetcher(ANY, guard=Guard(allow=["127.0.0.0/8"]), session=session) as fetcher:
                takes: list[Take] = []
                for path in ("/near", "/away"):
                    await fetcher.fetch(Request(url=site.url(path)), follow=3, takes=takes)
                own = Request(url=site.url("/away"), headers=(("Authorization", "mine"), ("Cookie", "a=1")))
                await fetcher.fetch(own, follow=3)
            assert site.headers("/near")["authorization"] == site.headers("/here")["authorization"] == "Bearer hush"
            assert site.headers("/here")["x-key"] == "k"
            assert site.headers("/away")["authorization"] == "mine"
            for at, path, headers in site.asked:
                if at == "127.0.0.2":
                    assert path == "/there"
                    assert not {"authorization", "x-key", "cookie"} & headers.keys()
            assert "hush" not in str([take.request_headers for take in takes])

    guarded(main)


@pytest.mark.parametrize(("cookies", "sent"), [("off", [None, None]), ("memory", ["a=1", "a=2; b=3"])])
def test_cookies_are_off_unless_wanted(cookies: str, sent: list[str | None]) -> None:
    async def main() -> None:
        async with Echo("127.0.0.1", "127.0.0.2") as site:
            site.answers["/one"] = ("302 Found\r\nLocation: /two\r\nSet-Cookie: a=1", "")
            site.answers["/two"] = ("404 No\r\nSet-Cookie: b=3; Path=/\r\nSet-Cookie: a=2", "")
            session = session_of(SessionTable(cookies=cookies), {})  # type: ignore[arg-type]
            async with Fetcher(ANY, guard=Guard(allow=["127.0.0.0/8"]), session=session) as fetcher:
                with pytest.raises(SiteError):
                    await fetcher.fetch(Request(url=site.url("/one")), follow=1)
                await fetcher.fetch(Request(url=site.url("/three")))
                await fetcher.fetch(Request(url=site.url("/else", "127.0.0.2")))
            assert [site.headers(path).get("cookie") for path in ("/two", "/three")] == sent
            assert "cookie" not in site.headers("/else")

    guarded(main)


# -- TLS --------------------------------------------------------------------------------------------------------------


def test_certificates_are_checked_unless_told_otherwise(certificates: Path) -> None:
    async def main() -> None:
        async with Echo(certificates=certificates) as site:
            assert (await failure(Session(), site.url())).reason == "tls"
            trusting = FetchTable(content_types=(), ca_file=str(certificates / "ca.crt"))
            assert (await got(Session(), site.url("/a"), trusting))["path"] == "/a"
            wrong = site.url("/b").replace("127.0.0.1", "127.0.0.2")
            assert (await got(Session(), site.url("/c"), FetchTable(content_types=(), verify=False)))["path"] == "/c"
        async with Echo("127.0.0.2", certificates=certificates) as other:
            wrong = other.url("/d")
            assert (await failure(Session(), wrong, trusting, Guard(allow=["127.0.0.2"]))).reason == "tls"

    guarded(main)


def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    for path in (tmp_path / "x.pem", tmp_path / "none.pem"):
        with pytest.raises(SettingsError, match="ca_file"):
            guarded(lambda path=path: got(Session(), "http://127.0.0.1/", FetchTable(ca_file=str(path))))


# -- proxies ----------------------------------------------------------------------------------------------------------

KINDS = [("http", "http"), ("socks5", "socks5h"), ("socks5", "socks5")]


@pytest.mark.parametrize(("kind", "scheme"), KINDS)
@pytest.mark.parametrize("login", [("", ""), ("user", "p:w @")])
def test_pages_come_over_a_proxy(kind: Any, scheme: str, login: tuple[str, str]) -> None:
    async def main() -> None:
        async with Echo() as site, ProxyServer(kind, site.port, user=login[0], password=login[1]) as proxy:
            session = over(proxy, scheme=scheme, user=login[0], password=login[1])
            url = NAME if scheme != "socks5" else f"http://localhost:{site.port}/page"
            found = await got(session, url, guard=Guard(named=[f"localhost:{site.port}"]))
            assert found["path"] == "/page"
            assert "user-agent" in found["headers"]
            asked = {"http": NAME, "socks5h": "site.example:80", "socks5": f"127.0.0.1:{site.port}"}[scheme]
            assert proxy.asked == [asked]

    guarded(main)


@pytest.mark.parametrize(("kind", "scheme"), KINDS[:2])
def test_https_goes_through_a_tunnel(kind: Any, scheme: str, certificates: Path) -> None:
    async def main() -> None:
        settings = FetchTable(content_types=(), ca_file=str(certificates / "ca.crt"))
        async with (
            Echo(certificates=certificates) as site,
            ProxyServer(kind, site.port, user="u", password="hush") as proxy,
        ):
            session = over(proxy, scheme=scheme, user="u", password="hush")
            found = await got(session, "https://localhost/x", settings)
            assert found["path"] == "/x"
            assert not [name for name in found["headers"] if "authorization" in name]
            assert proxy.asked == ["localhost:443"]
            # The certificate is for localhost, whoever the proxy connected us with.
            assert (await failure(session, "https://other.example/x", settings)).reason == "tls"

    guarded(main)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_the_guard_judges_what_a_proxy_is_asked_for(scheme: str) -> None:
    async def main() -> None:
        async with ProxyServer("http", 1) as proxy:
            session = over(proxy, scheme=scheme)
            urls = ["http://169.254.169.254/", "http://[::1]/", "https://10.0.0.1/", f"http://127.0.0.1:{proxy.port}/"]
            urls += ["http://a.example:25/"] + ["http://localhost/"] * (scheme == "socks5")
            for url in urls:
                assert (await failure(session, url, guard=Guard())).reason == "guard"
            looking = Guard(resolve_proxied=True)
            assert (await failure(session, "http://localhost/", guard=looking)).reason == "guard"
            assert proxy.asked == []

    guarded(main)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_one_that_is_dead_is_left_out_and_the_page_not_charged(scheme: str) -> None:
    async def main() -> None:
        kind: Any = scheme.removesuffix("h")
        async with Echo() as site, ProxyServer(kind, site.port) as proxy, ProxyServer(kind, site.port) as dead:
            await dead.__aexit__(None, None, None)
            session = over(dead, proxy, scheme=scheme)
            async with Fetcher(ANY, guard=OPEN, session=session) as fetcher:
                for number in range(5):
                    await fetcher.fetch(Request(url=f"{NAME}{number}"))
            assert [path.rpartition("/")[2] for path in site.paths()] == [f"page{number}" for number in range(5)]
            error = await failure(over(dead, scheme=scheme), NAME)
            assert (error.reason, error.blame, error.final) == ("proxy", "host", False)

    guarded(main)


@pytest.mark.parametrize(
    ("scheme", "url", "says", "reason", "blame", "final"),
    [
        ("http", "https://site.example/", 407, "proxy", "host", False),
        ("http", NAME, 407, "proxy", "host", False),
        ("http", "https://site.example/", 403, "proxy_refused", "page", True),
        ("http", "https://site.example/", 502, "connect", "host", False),
        ("http", NAME, 404, "http_404", "page", True),
        ("socks5h", NAME, 2, "proxy_refused", "page", True),
        ("socks5h", NAME, 5, "connect", "host", False),
        ("socks5h", NAME, 4, "connect", "host", False),
        ("socks5h", NAME, 7, "proxy", "host", False),
    ],
)
def test_whose_fault_it_is(scheme: str, url: str, says: int, reason: str, blame: str, final: bool) -> None:
    async def main() -> None:
        kind: Any = scheme.removesuffix("h")
        async with Echo() as site, ProxyServer(kind, site.port, says=says) as proxy:
            error = await failure(over(proxy, scheme=scheme), url)
            assert (error.reason, error.blame, error.final) == (reason, blame, final), error
            assert site.asked == []

    guarded(main)


@pytest.mark.parametrize(("kind", "scheme"), KINDS[:2])
def test_wrong_credentials_are_the_proxys_trouble_and_not_shown(
    kind: Any, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Echo() as site, ProxyServer(kind, site.port, user="u", password="right") as proxy:
            error = await failure(over(proxy, scheme=scheme, user="u", password="hush"), NAME)
            assert error.reason == "proxy"
            assert "hush" not in str(error) + caplog.text
            assert "***@127.0.0.1" in caplog.text

    guarded(main)


def test_a_patient_fetcher_waits_until_one_works() -> None:
    async def main() -> None:
        async with Echo() as site:
            async with ProxyServer("http", site.port) as proxy:
                port = proxy.port
            session = over(port, proxy_backoff_s=0.2, proxy_backoff_max_s=0.2)
            waiting = asyncio.create_task(got(session, NAME, patient=True))
            await asyncio.sleep(0.6)
            assert not waiting.done()
            async with ProxyServer("http", site.port, port=port):
                assert (await waiting)["path"] == "/page"

    guarded(main)


def test_a_host_stays_with_its_proxy() -> None:
    async def main() -> None:
        async with Echo() as site, ProxyServer("http", site.port) as one, ProxyServer("http", site.port) as two:
            async with Fetcher(ANY, guard=OPEN, session=over(one, two, proxy_choice="host")) as fetcher:
                for number in range(40):
                    await fetcher.fetch(Request(url=f"http://h{number % 10}.example/"))
            # Connections are kept, so a proxy that reads one request each has seen each host at most once.
            assert not set(one.asked) & set(two.asked)
            assert len(set(one.asked) | set(two.asked)) == 10
            assert one.asked
            assert two.asked

    guarded(main)
