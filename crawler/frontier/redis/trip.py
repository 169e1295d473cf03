"""Round trips: a batch of commands for any keys, to all servers that have them at the same time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from redis import exceptions as told

from crawler.error import BackendError
from crawler.frontier.redis.address import Address
from crawler.frontier.redis.failure import reason
from crawler.frontier.redis.line import Command
from crawler.frontier.redis.route import Route
from crawler.frontier.redis.server import Sent, Server, Vitals
from crawler.tables import RedisTable

log = logging.getLogger("crawler.redis")


class Trips:
    """Thread-safe. Raises CrawlError when a server does not answer, after the others were read."""

    def __init__(self, route: Route, vitals: Vitals, address: Address, table: RedisTable) -> None:
        self.route = route
        self.vitals = vitals
        self.address = address
        self._replicas = table.replicas
        self._wait: Command = ("WAIT", table.replicas, round(table.replicas_wait_s * 1000))
        self._glance: Command = ("WAIT", table.replicas, 1)
        self._alone: set[str] = set()
        """Servers that had too few replicas connected: there is nobody to wait for until that changes."""
        self._warned = -1

    def answers(
        self, commands: Sequence[tuple[str, Command]], *, ahead: Command | None = None, durable: bool = False
    ) -> list[Any]:
        """Answers in order, errors that Redis answered among them. What has moved is sent once more."""
        answers: list[Any] = [None] * len(commands)
        todo: Sequence[int] = range(len(commands))
        for _ in range(2):
            self._round(commands, todo, answers, ahead, durable)
            todo = [at for at in todo if isinstance(answers[at], told.MovedError)]
            if not todo:
                break
            self.route.distrust()
        return answers

    def _round(
        self,
        commands: Sequence[tuple[str, Command]],
        todo: Sequence[int],
        answers: list[Any],
        ahead: Command | None,
        durable: bool,
    ) -> None:
        """One trip to each server that is concerned, all at the same time. Fills in `answers`."""
        parts: dict[Server, list[int]] = {}
        for at in todo:
            parts.setdefault(self.route.of(commands[at][0]), []).append(at)
        before = [ahead] if ahead else []
        sent: list[tuple[Server, list[int], Sent]] = []
        failed: Exception | None = None
        for server, part in parts.items():
            wait = self._glance if server.name in self._alone else self._wait
            behind = [wait] if durable else []
            try:
                sent.append((server, part, server.send([*before, *(commands[at][1] for at in part), *behind])))
            except (told.RedisError, OSError) as error:
                failed = failed or self.failure(server, error)
        for server, part, one in sent:
            try:
                received = server.receive(one)
            except (told.RedisError, OSError) as error:
                failed = failed or self.failure(server, error)
                continue
            if ahead and isinstance(received[0], Exception):
                failed = failed or reason(received[0], self.at(server), worked=ahead[0] in self.vitals.worked)
            for at, answer in zip(part, received[len(before) :], strict=False):
                answers[at] = answer
            if durable:
                failed = failed or self._unsafe(server, received[-1])
        if failed is not None:
            raise failed

    def failure(self, server: Server, error: Exception) -> Exception:
        """What an error on the way to the server means; where keys are is asked anew."""
        self.route.distrust(server)
        return reason(error, self.at(server), worked=bool(self.vitals.worked))

    def at(self, server: Server) -> str:
        """A server as a person may see it."""
        shown = self.address.shown
        return shown if self.address.kind in ("single", "unix") else f"{server.name} ({shown})"

    def _unsafe(self, server: Server, confirmed: Any) -> Exception | None:
        """What to raise when fewer replicas than wanted have it. With too few connected, only a warning."""
        if isinstance(confirmed, Exception):
            return reason(confirmed, self.at(server), worked="WAIT" in self.vitals.worked)
        self.vitals.worked.add("WAIT")
        if confirmed >= self._replicas:
            self._alone.discard(server.name)
            return None
        try:
            role = server.ask("ROLE")
        except (told.RedisError, OSError) as error:
            return self.failure(server, error)
        connected = len(role[2]) if role[0] == b"master" else 0
        text = f"Redis at {self.at(server)}: {confirmed} of {self._replicas} replicas ([redis] replicas) confirmed"
        if connected >= self._replicas:
            self._alone.discard(server.name)
            return BackendError(f"{text} in time")
        self._alone.add(server.name)
        if self._warned != self.vitals.epoch:
            self._warned = self.vitals.epoch
            log.warning("%s; %d are connected: going on without", text, connected)
        return None
