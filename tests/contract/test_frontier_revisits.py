"""Later visits (rule 18): each is admitted once and waits until it is due; neither an end nor a seeder waits for it."""

from __future__ import annotations

from collections.abc import Callable

from crawler.model import Added, Before, Bury, Done, Request, Retry
from crawler.url import fingerprint, visit_print
from crawler.view import Finish
from tests.contract.frontiers import START_MS, Crawl, names, pages

Open = Callable[..., Crawl]


def later(*names: str, after_s: float = 60.0, visit: int = 1, host: str = "a.test") -> list[Request]:
    return pages(*names, host=host, visit=visit, not_before_ms=START_MS + round(after_s * 1000))


def end_seeds(crawl: Crawl) -> None:
    crawl.frontier.close_producer(crawl.frontier.open_producer("seeds"))


def test_a_visit_is_admitted_once(crawl: Crawl) -> None:
    assert crawl.frontier.add([*pages("1"), *later("1"), *later("1", visit=2)]) == Added(new=3)
    assert crawl.frontier.add([*pages("1"), *later("1", after_s=5.0), *later("1", visit=2)]) == Added(known=3)
    assert (crawl.counts.ready, crawl.counts.delayed, crawl.counts.revisits) == (1, 2, 2)


def test_its_identity_is_told_apart_from_the_pages(crawl: Crawl) -> None:
    crawl.add(*pages("1"), *later("1", after_s=0.0))
    first, second = crawl.lease(2)
    assert first.fingerprint == fingerprint(first.request) == fingerprint(second.request)
    assert second.fingerprint == visit_print(second.request) != first.fingerprint
    crawl.settle(Bury("http_410"), second)
    (letter,) = crawl.frontier.dead()
    assert (letter.fingerprint, letter.request.visit) == (second.fingerprint, 1)
    assert crawl.frontier.trace(second.fingerprint, "a.test").state == "dead"
    assert crawl.frontier.kick(fingerprint=second.fingerprint) == 1


def test_what_the_last_visit_knew_comes_along(crawl: Crawl) -> None:
    before = Before(etag='W/"a\\1"', modified="x", body=-(1 << 63), items=5, wait_s=1.5)
    (request,) = pages("1", visit=3, before=before, not_before_ms=START_MS + 1)
    crawl.add(request)
    crawl.clock.wait(1)
    assert crawl.one().request == request


def test_an_end_does_not_wait_for_it(crawl: Crawl) -> None:
    crawl.add(*pages("1"), *later("1"))
    end_seeds(crawl)
    assert crawl.frontier.finished() is Finish.RUNNING
    crawl.done(crawl.one())
    assert crawl.frontier.finished() is Finish.FINISHED
    assert crawl.ask().next_due_s == 60.0


def test_due_it_is_a_page_as_any_other(crawl: Crawl) -> None:
    crawl.add(*later("1"))
    end_seeds(crawl)
    crawl.pass_time(60.0)
    assert (crawl.counts.ready, crawl.counts.delayed, crawl.counts.revisits) == (1, 0, 0)
    assert crawl.frontier.finished() is Finish.RUNNING
    lease = crawl.one()
    assert crawl.frontier.finished() is Finish.RUNNING
    crawl.settle(Done("not_modified"), lease)
    assert crawl.frontier.finished() is Finish.FINISHED


def test_a_failed_one_is_waited_for(crawl: Crawl) -> None:
    crawl.add(*later("1"))
    end_seeds(crawl)
    crawl.pass_time(60.0)
    crawl.settle(Retry(9.0, "http_500"), crawl.one())
    assert (crawl.counts.delayed, crawl.counts.revisits) == (1, 0)
    assert crawl.frontier.finished() is Finish.RUNNING
    crawl.pass_time(9.0)
    assert (crawl.counts.ready, crawl.counts.revisits) == (1, 0)


def test_a_first_visit_in_the_future_is_waited_for(crawl: Crawl) -> None:
    crawl.add(*pages("1", not_before_ms=START_MS + 5000, meta={"visit": 3}))
    end_seeds(crawl)
    assert crawl.counts.revisits == 0
    assert crawl.frontier.finished() is Finish.RUNNING


def test_seeders_do_not_wait_for_them(open_crawl: Open) -> None:
    crawl = open_crawl(pending_max=2)
    crawl.add(*later("1", "2", "3"))
    producer = crawl.frontier.open_producer("seeds")
    assert crawl.frontier.add(pages("1", "2"), producer=producer) == Added(new=2)
    assert crawl.frontier.add(pages("3"), producer=producer) == Added(full=True)


def test_purged_ones_are_gone_from_the_counts(crawl: Crawl) -> None:
    crawl.add(*later("1", "2"), *later("1", host="b.test"), *pages("x"))
    assert crawl.frontier.purge(host="a.test") == 3
    assert (crawl.counts.delayed, crawl.counts.revisits) == (1, 1)
    assert crawl.frontier.purge() == 1
    assert (crawl.counts.delayed, crawl.counts.revisits, crawl.counts.dropped) == (0, 0, 4)


def test_a_visit_may_begin_while_the_last_one_is_under_lease(crawl: Crawl) -> None:
    crawl.add(*pages("1"))
    first = crawl.one()
    crawl.add(*later("1", after_s=1.0))
    crawl.pass_time(1.0)
    assert names(crawl.lease(1, "w2")) == ["1"]
    assert crawl.done(first) == ()


def test_clear_forgets_them(crawl: Crawl) -> None:
    crawl.add(*later("1"))
    crawl.frontier.clear()
    assert crawl.counts.revisits == 0
    assert crawl.add(*later("1")) == 1
