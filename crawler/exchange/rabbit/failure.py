"""What an error of RabbitMQ or of the way to it means here: whose it is, what happened, and what to do about it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import TypeVar

from pika import exceptions as told  # type: ignore[import-untyped]
from pika.adapters.utils import connection_workflow as ways  # type: ignore[import-untyped]

from crawler.error import BackendError, CrawlError, SettingsError
from crawler.exchange.rabbit.address import Address

E = TypeVar("E", bound=BaseException)


class Missing(BackendError):
    """A queue or exchange that is not there, or not any more."""


_QUEUE = re.compile(r"'(crawler\.[^']+)'")
_ARGUMENT = re.compile(r"arg '([^']+)'")


def reason(error: BaseException, where: str, address: Address, *, worked: bool) -> CrawlError:
    """The error to raise instead. `where`: as a person may see it. `worked`: there was a connection before, so that a
    refusal is likely an administrator at work, who must not end the crawl: BackendError, not SettingsError."""
    if isinstance(error, CrawlError):
        return error
    refused: type[CrawlError] = BackendError if worked else SettingsError
    at = f"RabbitMQ at {where}"
    closed = _caused(error, told.ConnectionClosedByBroker) or _caused(error, told.ChannelClosedByBroker)
    if closed is not None and (found := _refusal(closed, at, address, refused)):
        return found
    if _caused(error, told.ProbableAuthenticationError) or _caused(error, told.AuthenticationError):
        return refused(
            f"{at} does not take the password of user {address.user}: see exchange.url and [rabbit] user, password, "
            "password_file"
        )
    if _caused(error, told.ProbableAccessDeniedError):
        return refused(f"{at}: user {address.user} may not use the vhost {address.vhost!r}, or there is none")
    tls = _caused(error, ssl.SSLError)
    if tls is not None:
        return refused(f"{at}: TLS failed: {_tls_text(tls)}")
    if _caused(error, told.IncompatibleProtocolError):
        hint = (
            "or wants a certificate of this client ([rabbit] cert_file)" if address.tls else "or wants TLS (amqps://)"
        )
        return BackendError(f"{at}: what answers there is not RabbitMQ, {hint}")
    if _caused(error, ways.AMQPConnectorStackTimeout) or _caused(error, TimeoutError):
        return BackendError(f"{at} does not answer in time")
    if _caused(error, told.AMQPHeartbeatTimeout):
        return BackendError(f"{at} fell silent")
    cause = _caused(error, OSError)
    text = (cause.strerror if cause and cause.strerror else str(cause or "")) or str(error) or type(error).__name__
    if isinstance(cause, socket.gaierror):
        text = f"the host's name is not known ({cause.strerror})"
    return BackendError(f"{at} does not answer: {text}")


def _refusal(
    closed: told.ConnectionClosedByBroker, at: str, address: Address, refused: type[CrawlError]
) -> CrawlError | None:
    """For a connection or channel that the broker closed, and said why."""
    code, text = closed.reply_code, closed.reply_text
    if code == 406 and "inequivalent arg" in text:
        name, argument = _QUEUE.search(text), _ARGUMENT.search(text)
        return SettingsError(
            f"{at}: {name[1] if name else 'a queue or exchange'} exists with another "
            f"{argument[1] if argument else 'argument'} than exchange.type and [rabbit] say now: set them back, or "
            f"remove the crawl's queues (crawler rm) and begin anew ({text})"
        )
    if code == 406 and "larger than" in text:
        return SettingsError(
            f"{at} takes no message as large as that ({text}): set exchange.message_bytes_max to at most its "
            "max_message_size, or raise that"
        )
    if code == 403:
        return refused(
            f"{at}: user {address.user} lacks rights in vhost {address.vhost!r} ({text}); "
            "see deploy/rabbitmq-definitions.json"
        )
    if code == 530 and "vhost" in text:
        return refused(f"{at} has no vhost {address.vhost!r} for user {address.user}: see exchange.url ({text})")
    if code == 404:
        return Missing(f"{at}: {text}; a crawl declares its queues when it starts")
    return BackendError(f"{at} closed the connection: {text} ({code})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it comes from; pika keeps some in attributes and arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "exception", None)]
        waiting += [part for part in one.args if isinstance(part, BaseException)]
        waiting += getattr(one, "exceptions", ())


def _caused(error: BaseException, kind: type[E]) -> E | None:
    """The error of this kind that an error is, or comes from."""
    return next((one for one in _chain(error) if isinstance(one, kind)), None)


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): set [rabbit] ca_file, or mend the certificate"
    known = (error.reason or "").upper()
    if "WRONG_VERSION" in known or "RECORD_LAYER" in known:
        return "it does not speak TLS: write amqp:// instead of amqps://"
    if "ALERT" in known:
        return f"it refused this client ({known.lower()}): set [rabbit] cert_file and key_file to what it trusts"
    return f"{known.lower() or 'error'}: see [rabbit] ca_file, cert_file and key_file"
