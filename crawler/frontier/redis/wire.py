"""The way to Redis: commands and scripts to the server that has their key, in as few round trips as there are servers.

Nothing is repeated but what certainly was not done: a script that the server did not know (NOSCRIPT), and a command
for a key that has moved to another node. All else is a BackendError, and the caller repeats its verb.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import msgspec
from redis import exceptions as told

from crawler.error import BackendError
from crawler.frontier.redis.address import Address
from crawler.frontier.redis.failure import reason
from crawler.frontier.redis.line import Command, Part, maker
from crawler.frontier.redis.listener import Listener
from crawler.frontier.redis.route import ByCluster, BySentinel, Fixed, Route
from crawler.frontier.redis.server import Server, Vitals
from crawler.frontier.redis.trip import Trips
from crawler.tables import RedisTable

LOADS_MAX = 3
"""How often a batch loads a script that is flushed again and again."""


class Script(msgspec.Struct, frozen=True):
    """A Lua script and the SHA-1 by which Redis knows it. Made by `Script.of`."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Wire:
    """Made by `connect`. Thread-safe: a connection for each thread that calls at the same time. Connects when first
    used. Not to be used in a forked child.

    Every method raises BackendError when a server cannot answer; SettingsError for what was refused from the start
    (password, rights, database, certificate); RuntimeError for a command or script that is wrong.
    """

    def __init__(self, route: Route, vitals: Vitals, address: Address, table: RedisTable) -> None:
        self.address = address
        self._route = route
        self._vitals = vitals
        self._trips = Trips(route, vitals, address, table)
        self._replicas = table.replicas
        self._pid = os.getpid()
        self._closed = False
        self._listeners: list[Listener] = []

    @property
    def trips(self) -> int:
        """Round trips made so far, without those that a new connection needs."""
        return self._vitals.trips

    def epoch(self) -> int:
        """Rises when a connection that had worked broke, or another server answers than before."""
        return self._vitals.epoch

    def call(self, key: str, *command: Part) -> Any:
        """One command, to the server that has `key`. One trip."""
        return self.calls([(key, command)])[0]

    def calls(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """(key, command) pairs; answers in order, as bytes, int, list or None. One trip per server. When one answer is
        an error, it is raised after all were carried out."""
        self._check()
        return self._settled(commands, self._trips.answers(commands))

    def run(self, script: Script, key: str, *args: Part, durable: bool = False) -> Any:
        """The script with KEYS[1] = key. One trip, two when the server did not know it."""
        return self.runs(script, [(key, args)], durable=durable)[0]

    def runs(self, script: Script, batch: Sequence[tuple[str, Command]], *, durable: bool = False) -> list[Any]:
        """The script for each (key, arguments). `durable`: with [redis] replicas set, wait for them; when they are
        connected and do not confirm in time, BackendError, though all was carried out: repeat it."""
        commands = [(key, ("EVALSHA", script.sha, 1, key, *args)) for key, args in batch]
        durable = durable and self._replicas > 0
        self._check()
        answers = self._trips.answers(commands, durable=durable)
        for _ in range(LOADS_MAX):
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, told.NoScriptError)]
            if not unknown:
                break
            load = ("SCRIPT", "LOAD", script.text)
            again = self._trips.answers([commands[at] for at in unknown], ahead=load, durable=durable)
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        return self._settled(commands, answers)

    def _settled(self, commands: Sequence[tuple[str, Command]], answers: list[Any]) -> list[Any]:
        """The answers, or the first error among them as what it means."""
        worked = self._vitals.worked
        for (key, command), answer in zip(commands, answers, strict=True):
            if isinstance(answer, Exception):
                server = self._route.of(key)
                if isinstance(answer, told.ReadOnlyError | told.ClusterError | told.AskError):
                    server.drop()
                    self._route.distrust(server)
                raise reason(answer, self._trips.at(server), worked=_name(command) in worked, key=key) from None
            if (name := _name(command)) not in worked:
                worked.add(name)
        return answers

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise BackendError(f"Redis at {self.address.shown}: connected before a fork and used after it")
        if self._closed:
            raise BackendError(f"Redis at {self.address.shown}: used after close()")

    def place(self, key: str) -> str:
        """host:port, or socket, of the server that has the key."""
        return self._route.of(key).name

    def servers(self) -> tuple[str, ...]:
        """host:port, or socket, of each server that has keys."""
        return tuple(server.name for server in self._route.servers())

    def ask(self, server: str, *command: Part) -> Any:
        """A command for one server of `servers()`, whatever its keys. One trip."""
        self._check()
        found = next((one for one in self._route.servers() if one.name == server), None)
        if found is None:
            raise BackendError(f"Redis at {self.address.shown}: {server} is no longer one of its servers")
        try:
            answer = found.ask(*command)
        except told.ResponseError as error:
            raise reason(error, self._trips.at(found), worked=_name(command) in self._vitals.worked) from None
        except (told.RedisError, OSError) as error:
            raise self._trips.failure(found, error) from None
        self._vitals.worked.add(_name(command))
        return answer

    def info(self, server: str, *sections: str) -> dict[str, str]:
        """INFO of a server of `servers()`. One trip."""
        lines = self.ask(server, "INFO", *sections).decode(errors="replace").splitlines()
        pairs = (line.partition(":") for line in lines if not line.startswith("#"))
        return {name: value for name, _, value in pairs if name}

    def clients(self) -> list[dict[str, str]]:
        """CLIENT LIST of all servers: name, addr, idle (seconds) and whatever else they tell. One trip per server."""
        found = []
        for server in self.servers():
            for line in self.ask(server, "CLIENT", "LIST").decode(errors="replace").splitlines():
                found.append({"server": server} | dict(part.split("=", 1) for part in line.split() if "=" in part))
        return found

    def listen(self, channels: Sequence[str], on_message: Callable[[str, bytes], None]) -> None:
        """From now on call `on_message(channel, payload)` in a thread of its own, and `on_message("", b"")` whenever it
        has subscribed, again or for the first time: messages may have been lost before. Ends with close()."""
        self._listeners.append(Listener(self._route, tuple(channels), on_message))

    def close(self) -> None:
        """End listeners and connections. Safe to repeat."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
        self._route.close()


def client_name(crawl: str, role: str) -> str:
    """How the connections of a crawl's process are called: CLIENT SETNAME takes no spaces and no other alphabets, so a
    digest keeps apart what looks the same without them."""
    digest = hashlib.blake2b(crawl.encode(), digest_size=6).hexdigest()
    return f"crawler:{_plain(crawl)[:100]}:{digest}:{role}"


def in_use(wire: Wire, crawl: str, role: str) -> bool:
    """Whether a process is connected to this crawl in that role, whatever its keys hold. One trip per server."""
    name = client_name(crawl, role)
    return any(client.get("name", "") == name for client in wire.clients())


def _plain(name: str) -> str:
    return re.sub(r"[^!-~]", "_", name)


def _name(command: Command) -> Part:
    return command[1] if command[0] == "EVALSHA" else command[0]


def _sentinels(address: Address, table: RedisTable, client: str) -> list[Server]:
    make, vitals = maker(address, table, sentinel=True), Vitals()
    return [
        Server(f"{host}:{port}", f"sentinel {host}:{port}", partial(make, host, port), vitals, client=client)
        for host, port in address.hosts
    ]


def connect(address: Address, table: RedisTable, *, name: str = "crawler") -> Wire:
    """A Wire, not connected yet. `name`: how its connections are called in CLIENT LIST."""
    vitals, make = Vitals(), maker(address, table)
    client = _plain(name)[:200]
    place = f"primary {address.primary}" if address.kind == "sentinel" else ""

    def server(host: str, port: int) -> Server:
        called = address.path or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        return Server(called, place or called, partial(make, host, port), vitals, client=client, primary=bool(place))

    route: Route
    if address.kind == "cluster":
        route = ByCluster([server(*host) for host in address.hosts], server, address.shown, vitals)
    elif address.kind == "sentinel":
        route = BySentinel(address.primary, _sentinels(address, table, client), server, address.shown, vitals)
    else:
        route = Fixed(server(*(address.hosts[0] if address.hosts else ("", 0))))
    return Wire(route, vitals, address, table)
