"""The least that pika can do: publish with confirms, consume with one acknowledgement for many. No codec, no rules."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

WINDOW = 500
"""Unconfirmed at most, and prefetch."""
ACK_EVERY = 200


def publish(url: str, queue: str, body: bytes, count: int) -> None:
    """Until all are confirmed."""
    asyncio.run(_with_channel(url, functools.partial(_publish, queue=queue, body=body, count=count)))


def consume(url: str, queue: str, count: int) -> None:
    """Until so many were acknowledged."""
    asyncio.run(_with_channel(url, functools.partial(_consume, queue=queue, count=count)))


async def _with_channel(url: str, work: Any) -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Any] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened.set_result),
        on_open_error_callback=lambda _, error: opened.set_exception(RuntimeError(str(error))),
    )
    channel = await opened
    await work(channel, loop)
    closed: asyncio.Future[None] = loop.create_future()
    connection.add_on_close_callback(lambda *_: closed.set_result(None))
    connection.close()
    await closed


async def _publish(channel: Any, loop: asyncio.AbstractEventLoop, *, queue: str, body: bytes, count: int) -> None:
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json", message_id="0" * 32)
    done: asyncio.Future[None] = loop.create_future()
    sent = confirmed = 0

    def fill() -> None:
        nonlocal sent
        while sent < count and sent - confirmed < WINDOW:
            channel.basic_publish("", queue, body, properties)
            sent += 1

    def on_confirm(frame: Any) -> None:
        nonlocal confirmed
        confirmed = frame.method.delivery_tag if frame.method.multiple else confirmed + 1
        if confirmed >= count and not done.done():
            done.set_result(None)
        if sent - confirmed < WINDOW // 2:
            fill()

    ready: asyncio.Future[Any] = loop.create_future()
    channel.confirm_delivery(on_confirm, callback=ready.set_result)
    await ready
    fill()
    await done


async def _consume(channel: Any, loop: asyncio.AbstractEventLoop, *, queue: str, count: int) -> None:
    done: asyncio.Future[None] = loop.create_future()
    taken = 0

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal taken
        taken += 1
        if taken % ACK_EVERY == 0 or taken == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if taken == count:
            done.set_result(None)

    channel.basic_qos(prefetch_count=WINDOW)
    channel.basic_consume(queue, on_message)
    await done
