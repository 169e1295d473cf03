"""The thread of RabbitMQ's loop: whoever waits for it when it ends is told."""

from __future__ import annotations

import asyncio
import threading

import pytest

from crawler.error import BackendError
from crawler.exchange.rabbit.thread import MARGIN_S, Thread


async def _nothing() -> None:
    return


def test_a_verb_that_does_not_end_in_time_when_it_is_closed() -> None:
    thread, begun, told = Thread(), threading.Event(), list[BaseException]()

    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    def ask() -> None:
        try:
            thread.run(stubborn(), 60)
        except BaseException as error:
            told.append(error)

    user = threading.Thread(target=ask)
    user.start()
    assert begun.wait(10)
    thread.close()
    user.join(MARGIN_S)
    assert [type(error) for error in told] == [BackendError]


def test_verbs_that_are_asked_while_it_is_closed() -> None:
    told: list[BaseException] = []

    def ask(thread: Thread) -> None:
        try:
            while True:
                thread.run(_nothing(), 60)
        except BaseException as error:
            told.append(error)

    for _ in range(100):
        thread = Thread()
        users = [threading.Thread(target=ask, args=(thread,)) for _ in range(4)]
        for user in users:
            user.start()
        thread.close()
        for user in users:
            user.join(MARGIN_S)
    assert [type(error) for error in told] == [BackendError] * 400


def test_used_after_it_was_closed() -> None:
    thread = Thread()
    thread.run(_nothing(), 1)
    thread.close()
    with pytest.raises(BackendError, match="used after close"):
        thread.run(_nothing(), 1)
