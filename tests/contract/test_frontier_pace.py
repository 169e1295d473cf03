"""The frontier's rules for a host's pace: response time, slow-down, own values, Crawl-delay, domains, hours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.frontier import SCAN_MAX
from crawler.frontier.overrides import apply
from crawler.model import Bury, Done, Lease, OwnPace, Request, Retry, Robots, Settlement
from crawler.view import Finish
from tests.contract.frontiers import START_MS, Crawl, make_suspects, many, name, names, pages

Open = Callable[..., Crawl]
BUSY = Retry(0.0, "http_429", "host")


def pace(crawl: Crawl, host: str = "a.test") -> tuple[float, str]:
    found = crawl.frontier.host(host)
    return found.pace_s, found.pacer


def fetch(crawl: Crawl, seconds: float) -> Lease:
    lease = crawl.one()
    crawl.frontier.fetched([lease.token], [seconds])
    crawl.done(lease)
    return lease


class TestResponseTime:
    def test_is_smoothed_and_the_delay_follows_it(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0, latency_factor=2.0, delay_max_s=10.0)
        crawl.add(*many(9))
        found = []
        for seconds in (0.2, 2.0, 2.0, 40.0):
            fetch(crawl, seconds)
            found.append((crawl.frontier.host("a.test").latency_s, *pace(crawl)))
            crawl.clock.wait(60)
        assert found == [
            (0.2, 1.0, "crawl"),
            (0.65, 1.3, "latency"),
            (0.988, 1.976, "latency"),
            (10.741, 10.0, "latency"),
        ]

    def test_the_longer_delay_is_kept(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.add(*many(2))
        fetch(crawl, 3.0)
        assert crawl.ask().next_due_s == 6.001

    @pytest.mark.parametrize("rules", [{"delay_s": 0.0}, {"delay_s": 1.0, "latency_factor": 0.0}])
    def test_has_no_effect_without_a_delay_or_when_off(self, open_crawl: Open, rules: dict[str, float]) -> None:
        crawl = open_crawl(**rules)
        crawl.add(*many(2))
        fetch(crawl, 30.0)
        assert (crawl.frontier.host("a.test").latency_s, pace(crawl)[0]) == (0.0, rules["delay_s"])

    @pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan"), float("inf")])
    def test_what_is_no_time_counts_for_nothing(self, open_crawl: Open, seconds: float) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.add(*many(1))
        fetch(crawl, seconds)
        assert crawl.frontier.host("a.test").latency_s == 0.0

    def test_fewer_or_more_times_than_tokens(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.add(*many(1), *many(1, "b.test"))
        first, second = crawl.lease(2)
        crawl.frontier.fetched([first.token], [2.0, 9.0])
        crawl.frontier.fetched([second.token])
        assert [crawl.frontier.host(host).latency_s for host in (first.host, second.host)] == [2.0, 0.0]


class TestSlowDown:
    def test_a_burst_is_one_step_and_holds_the_host_to_one_at_a_time(self, open_crawl: Open) -> None:
        crawl = open_crawl()
        crawl.add(*many(30))
        crawl.settle(BUSY, *crawl.lease(8))
        assert (crawl.frontier.host("a.test").slow, pace(crawl)) == (1, (0.5, "slow"))
        crawl.clock.wait(1)
        (lease,) = crawl.lease(8)
        crawl.done(lease)
        assert crawl.ask(8).next_due_s == 0.501

    @pytest.mark.parametrize("reason", ["http_429", "http_503", "robots_http_429", "robots_http_503", "connect", "dns"])
    def test_only_what_says_that_it_is_too_much_slows_down(self, crawl: Crawl, reason: str) -> None:
        crawl.add(*pages("1"))
        crawl.settle(Retry(0.0, reason, "host"), crawl.one())
        assert crawl.frontier.host("a.test").slow == (reason not in ("connect", "dns"))

    def test_steps_double_the_delay_up_to_its_limit(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0, host_failures_max=99, host_backoff_max_s=1.0)
        crawl.add(*pages("1"))
        found = []
        for _ in range(8):
            crawl.settle(BUSY, crawl.one())
            found.append(pace(crawl)[0])
            crawl.clock.wait(70)
        assert found == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
        assert crawl.frontier.host("a.test").slow == 6

    def test_the_delay_runs_from_the_step(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=9.0)
        crawl.add(*pages("1"))
        lease = crawl.one()
        crawl.frontier.fetched([lease.token])
        crawl.clock.wait(5)
        crawl.settle(BUSY, lease)
        assert crawl.ask().next_due_s == 18.001

    def test_ten_that_end_well_in_a_row_take_a_step_back(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_backoff_s=0.0)
        crawl.add(*many(60))
        outcomes = [BUSY, BUSY, *[Done()] * 9, Retry(0.0, "timeout_total"), *[Done()] * 5, *[Bury("http_404")] * 5]
        steps = []
        for outcome in [*outcomes, *[Done()] * 11]:
            crawl.settle(outcome, crawl.one())
            steps.append(crawl.frontier.host("a.test").slow)
            crawl.clock.wait(2)
        assert steps == [1, *[2] * 20, *[1] * 10, 0, 0]
        assert len(crawl.lease(8)) == 8

    def test_what_was_not_asked_for_says_nothing_about_the_host(self, open_crawl: Open) -> None:
        crawl = open_crawl(host_backoff_s=0.0)
        crawl.add(*many(30))
        crawl.settle(BUSY, crawl.one())
        crawl.clock.wait(1)
        for _ in range(12):
            crawl.settle(Done("robots", fetched=False), crawl.one())
        assert crawl.frontier.host("a.test").slow == 1

    def test_what_was_leased_before_the_step_takes_none_back(self, open_crawl: Open) -> None:
        crawl = open_crawl()
        crawl.add(*many(30))
        busy, *others = crawl.lease(20)
        crawl.settle(BUSY, busy)
        crawl.done(*others)
        assert crawl.frontier.host("a.test").slow == 1

    def test_retry_after_is_the_least_pause(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        crawl.add(*pages("1"))
        crawl.settle(Retry(77.0, "http_503", "host"), crawl.one())
        assert crawl.ask().next_due_s == 77.0


class TestOwnValues:
    def test_crawl_delay_wins_over_a_shorter_delay_and_own_over_both(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        robots = Robots(origin="http://a.test")
        found = []
        own = ({"delay_s": 0.0}, {"delay_s": 3.0}, {"delay_s": -1.0})
        for given in ({"crawl_delay_s": 0.5}, {"crawl_delay_s": 7.5}, *own):
            crawl.frontier.set_host("a.test", robots=robots if "crawl_delay_s" in given else None, **given)
            found.append(pace(crawl))
        assert found == [(1.0, "crawl"), (7.5, "robots"), (0.0, ""), (3.0, "own"), (7.5, "robots")]

    def test_the_largest_crawl_delay_of_a_hosts_valid_robots_counts(self, open_crawl: Open) -> None:
        crawl = open_crawl()
        given = (("http", 5.0, 100.0), ("https", 2.0, 9000.0), ("https", 0.0, 9000.0))
        for scheme, delay_s, expires_s in given:
            robots = Robots(origin=f"{scheme}://a.test", expires_s=expires_s)
            crawl.frontier.set_host("a.test", robots=robots, crawl_delay_s=delay_s)
        assert pace(crawl) == (5.0, "robots")
        crawl.clock.wait(101)
        crawl.frontier.set_host("a.test", robots=Robots(origin="https://a.test"), crawl_delay_s=2.0)
        assert pace(crawl) == (2.0, "robots")

    def test_a_crawl_delay_holds(self, open_crawl: Open) -> None:
        crawl = open_crawl()
        crawl.add(*many(3))
        crawl.frontier.set_host("a.test", robots=Robots(origin="http://a.test"), crawl_delay_s=2.0)
        (lease,) = crawl.lease(3)
        crawl.done(lease)
        assert crawl.ask().next_due_s == 2.001

    @pytest.mark.parametrize(("own", "given"), [(3, 3), (0, 9), (-1, 1)])
    def test_a_hosts_own_cap(self, open_crawl: Open, own: int, given: int) -> None:
        crawl = open_crawl(per_host=1)
        crawl.frontier.set_host("a.test", per_host=own)
        crawl.add(*many(9))
        assert len(crawl.lease(20)) == given
        assert crawl.frontier.host("a.test").per_host == (own if own >= 0 else None)

    def test_settings_for_hosts_are_applied_once_and_taken_back(self, open_crawl: Open) -> None:
        crawl = open_crawl(delay_s=1.0)
        first = {"a.test": OwnPace(delay_s=5.0), "b.test": OwnPace(per_host=4)}
        apply(crawl.frontier, crawl.frontier.record(), first)
        assert crawl.frontier.record().own == first
        assert (crawl.frontier.host("a.test").delay_s, crawl.frontier.host("b.test").per_host) == (5.0, 4)
        crawl.frontier.set_host("a.test", delay_s=9.0)
        apply(crawl.frontier, crawl.frontier.record(), first)
        assert crawl.frontier.host("a.test").delay_s == 9.0, "nothing changed, so nothing was done"
        apply(crawl.frontier, crawl.frontier.record(), {"b.test": OwnPace(delay_s=0.0)})
        found = [crawl.frontier.host(host) for host in ("a.test", "b.test")]
        assert [(host.delay_s, host.per_host) for host in found] == [(None, None), (0.0, None)]

    def test_clear_forgets_what_was_applied(self, open_crawl: Open) -> None:
        crawl = open_crawl()
        apply(crawl.frontier, crawl.frontier.record(), {"a.test": OwnPace(delay_s=5.0)})
        crawl.frontier.clear()
        assert crawl.frontier.record().own == {}


def spread(count: int, domain: str = "example.co.uk") -> list[Request]:
    return [Request(url=f"http://h{number}.{domain}/") for number in range(count)]


class TestDomains:
    def test_the_cap_counts_all_hosts_of_a_domain(self, open_crawl: Open) -> None:
        crawl = open_crawl(per_domain=2, per_host=1)
        crawl.add(*spread(5), *spread(3, "other.co.uk"), Request(url="http://example.co.uk:8080/"))
        leases = settled_lease(crawl, 20)
        assert sorted(lease.host for lease in leases) == sorted(
            ["h0.example.co.uk", "h1.example.co.uk", "h0.other.co.uk", "h1.other.co.uk"]
        )
        asked = crawl.ask(20, "w2")
        assert (asked.leases, asked.next_due_s) == ((), 60.0), "only a lapse would make room"
        crawl.frontier.fetched([leases[0].token])
        (more,) = settled_lease(crawl, 20, "w2")
        assert more.host.split(".", 1)[1] == leases[0].host.split(".", 1)[1]

    def test_one_call_gives_one_of_each_host(self, open_crawl: Open) -> None:
        crawl = open_crawl(per_domain=3)
        crawl.add(*many(9, "a.test"), *many(9, "10.0.0.1"), *many(9, "10.0.0.1:81"), *many(9, "10.0.0.2"))
        assert len(settled_lease(crawl, 20)) == 3 + 3 + 3

    @pytest.mark.parametrize("end", ["done", "release", "forfeit", "lapse", "bury", "retry"])
    def test_every_end_makes_room(self, open_crawl: Open, end: str) -> None:
        crawl = open_crawl(per_domain=1)
        crawl.add(*spread(3))
        (lease,) = settled_lease(crawl, 9)
        assert crawl.lease(9, "w2") == []
        outcomes = {"done": Done(), "bury": Bury("x"), "retry": Retry(99.0, "x")}
        if end in outcomes:
            crawl.settle(outcomes[end], lease)
        elif end == "release":
            crawl.frontier.release([lease.token])
        elif end == "forfeit":
            crawl.frontier.forfeit("w1")
        else:
            crawl.pass_time(60)
        assert len(settled_lease(crawl, 9, "w2")) == 1

    def test_suspects_and_robots_count(self, open_crawl: Open) -> None:
        crawl = open_crawl(per_domain=1, robots=True)
        crawl.add(*spread(2))
        (robots,) = settled_lease(crawl, 9)
        assert robots.robots
        assert crawl.lease(9, "w2") == []
        crawl.allow_robots(robots)
        (again,) = settled_lease(crawl, 9, "w2")
        assert again.host != robots.host or not again.robots
        suspicious = open_crawl(per_domain=1)
        make_suspects(suspicious, Request(url="http://s.example.co.uk/"))
        suspicious.lease(9)
        suspicious.frontier.forfeit("w1")
        suspicious.add(*spread(1))
        (first,) = settled_lease(suspicious, 1)
        assert not first.alone
        assert suspicious.lease(1, "w2") == [], "its domain is full"
        suspicious.done(first)
        assert suspicious.one("w2").alone

    def test_the_cap_holds_from_when_it_is_set(self, open_crawl: Open, tmp_path: object) -> None:
        crawl = open_crawl(per_domain=2)
        crawl.add(*spread(9))
        held = settled_lease(crawl, 9)
        assert len(held) == 2
        crawl.frontier.settle([Settlement(lease.token, Done()) for lease in held])
        assert len(settled_lease(crawl, 9)) == 2

    def test_full_domains_do_not_hide_the_hosts_behind_them(self, open_crawl: Open) -> None:
        crawl = open_crawl(per_domain=1)
        for start in range(0, SCAN_MAX + 200, 400):
            crawl.add(*(Request(url=f"http://h{number}.big.test/") for number in range(start, start + 400)))
        crawl.add(*spread(1))
        found = []
        for _ in range(9):
            asked = crawl.ask(5)
            found += [lease.host for lease in asked.leases]
            if asked.next_due_s:
                break
        assert (found, asked.next_due_s) == (["h0.big.test", "h0.example.co.uk"], 60.0)


def settled_lease(crawl: Crawl, count: int, worker: str = "w1") -> list[Lease]:
    """As a worker asks: until no more come. On a server the first call may only learn of what domains the hosts are."""
    found: list[Lease] = []
    for _ in range(4):
        asked = crawl.ask(count - len(found), worker)
        found += asked.leases
        if asked.next_due_s != 0.0 or len(found) == count:
            break
    return found


class TestHours:
    """The clock begins on a Tuesday at 22:13:20 UTC."""

    def test_outside_nothing_is_given_and_it_says_when_they_begin(self, open_crawl: Open) -> None:
        crawl = open_crawl(hours=("23:00-01:00", "05:00-06:00"))
        crawl.add(*many(3))
        asked = crawl.ask()
        assert (asked.leases, asked.next_due_s) == ((), 46 * 60 + 40)
        assert crawl.frontier.finished() is Finish.RUNNING
        crawl.clock.wait(46 * 60 + 40)
        assert names(crawl.lease(1)) == ["0"]
        crawl.clock.wait(2 * 3600)
        assert crawl.ask().next_due_s == 4 * 3600

    def test_by_a_zones_clock(self, open_crawl: Open) -> None:
        crawl = open_crawl(hours=("23:00-23:30",), zone="Europe/Berlin")  # an hour ahead of UTC in November
        crawl.add(*many(1))
        assert START_MS % 1000 == 0
        assert name(crawl.one()) == "0"

    def test_work_under_way_goes_on(self, open_crawl: Open) -> None:
        crawl = open_crawl(hours=("22:00-22:30",))
        crawl.add(*many(2))
        lease = crawl.one()
        crawl.clock.wait(1800)
        assert crawl.frontier.renew([lease.token]) == ()
        assert crawl.done(lease) == ()
        assert crawl.lease() == []
