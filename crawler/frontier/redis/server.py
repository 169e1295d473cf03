"""One Redis server: its connections, and batches of commands that go there in one round trip."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from redis import exceptions as told

from crawler.frontier.redis.line import Command, Line, Part, pack


class Vitals:
    """What the servers of one Wire have in common: what happened so far. Thread-safe."""

    def __init__(self) -> None:
        self.trips = 0
        self.epoch = 0
        self.worked: set[Part] = set()
        """Commands, and hashes of scripts, that were answered once."""
        self._met: dict[str, tuple[bytes, bytes]] = {}
        self._lock = threading.Lock()

    def tripped(self) -> None:
        with self._lock:
            self.trips += 1

    def turn(self) -> None:
        """The servers may have lost their last writes."""
        with self._lock:
            self.epoch += 1

    def meet(self, place: str, identity: tuple[bytes, bytes]) -> None:
        """Who answers at a place; another one than last time turns the epoch."""
        with self._lock:
            if self._met.setdefault(place, identity) != identity:
                self._met[place] = identity
                self.epoch += 1


class Sent(NamedTuple):
    """A batch on its way, whose answers are still to be read."""

    connection: Line
    generation: int
    fresh: bool
    size: int


class Server:
    """A server and its connections, one per thread that talks to it at the same time. Thread-safe.

    Methods raise redis-py's errors and OSError: `failure.reason` says what they mean.
    """

    def __init__(
        self, name: str, place: str, make: Callable[[], Line], vitals: Vitals, *, client: str, primary: bool = False
    ) -> None:
        """`name`: host:port or path. `place`: what it is to the Wire; servers that take each other's place share it.
        `primary`: refuse to work with a replica. `client`: for CLIENT SETNAME."""
        self.name = name
        self._place = place
        self._make = make
        self._vitals = vitals
        self._primary = primary
        self._client = client
        self._idle: list[Line] = []
        self._generation = 0
        self._closed = False
        self._lock = threading.Lock()

    def ask(self, *command: Part) -> Any:
        """One command, one answer. Raises the answer if it is an error."""
        (answer,) = self.receive(self.send([command]))
        if isinstance(answer, told.ResponseError):
            raise answer
        return answer

    def send(self, commands: Sequence[Command]) -> Sent:
        """Send a batch; `receive` must follow."""
        data = pack(commands)
        with self._lock:
            generation = self._generation
            connection = self._idle.pop() if self._idle else None
        fresh = connection is None
        if connection is None:
            connection = self.open()
        self._vitals.tripped()
        with self._kept(connection, fresh):
            connection.send_packed_command([data], check_health=False)
        return Sent(connection, generation, fresh, len(commands))

    def receive(self, sent: Sent) -> list[Any]:
        """The answers in order; an error that Redis answered stands among them."""
        answers: list[Any] = []
        connection = sent.connection
        with self._kept(connection, sent.fresh):
            for _ in range(sent.size):
                try:
                    answers.append(connection.read_response())
                except told.ResponseError as error:
                    answers.append(error)
        with self._lock:
            if sent.generation == self._generation and not self._closed:
                self._idle.append(connection)
                return answers
        connection.disconnect()
        return answers

    @contextlib.contextmanager
    def _kept(self, connection: Line, fresh: bool) -> Iterator[None]:
        """An error within ends this connection and the idle ones, which are likely no better."""
        try:
            yield
        except BaseException:
            connection.disconnect()
            self.drop()
            if not fresh:
                self._vitals.turn()
            raise

    def open(self) -> Line:
        """A new connection, which the caller must disconnect. Notes who answers."""
        connection = self._make()
        try:
            connection.connect()
            connection.send_packed_command([pack([("CLIENT", "SETNAME", self._client), ("ROLE",), ("INFO", "server")])])
            _, role, info = [_answer(connection) for _ in range(3)]
        except BaseException:
            connection.disconnect()
            self.drop()
            raise
        if isinstance(role, list) and isinstance(info, bytes):
            self._vitals.meet(self._place, (role[0], info.partition(b"run_id:")[2][:40]))
            if self._primary and role[0] != b"master":
                connection.disconnect()
                raise told.ReadOnlyError("replica", status_code="READONLY")
        return connection

    def drop(self) -> None:
        """End the connections: the idle ones now, the others when their answers are read."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()

    def close(self) -> None:
        self._closed = True
        self.drop()


def _answer(connection: Line) -> Any:
    try:
        return connection.read_response()
    except told.ResponseError as error:
        return error
