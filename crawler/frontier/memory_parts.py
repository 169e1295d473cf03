"""What the frontier in memory is made of: requests, leases, workers, producers."""

from __future__ import annotations

import msgspec

from crawler.frontier.host import HostState
from crawler.model import Request


class Entry(msgspec.Struct):
    """A request that is not finished."""

    number: int
    """Admission number."""
    request: Request
    fingerprint: int
    host: HostState
    origin: str
    attempts: int = 0
    crashes: int = 0
    later: bool = False
    """A later visit that was not due yet when it was admitted, and is still DELAYED since."""
    since_ms: int = 0
    """A suspect since."""


class Holding(msgspec.Struct):
    """A lease. `entry` None: the origin's robots.txt."""

    serial: int
    request_id: str
    worker: str
    host: HostState
    origin: str
    entry: Entry | None
    expires_ms: int
    alone: bool
    step: int
    """The host's failure steps when it was given."""
    fetched: bool = False


class WorkerState(msgspec.Struct):
    held: dict[int, Holding]
    pages: int = 0
    seen_ms: int = 0


class Producer(msgspec.Struct):
    token: str
    state: str
    expires_ms: int
