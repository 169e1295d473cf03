"""What a Redis server says of itself: CPU time, memory, commands carried out, its slow log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crawler.frontier.redis import scripts
from crawler.frontier.redis.wire import Wire
from tests.bench.stopwatch import Stopwatch
from tests.servers.redis import RedisServer

SLOW_US = 1_000
"""Scripts that take longer are looked at; shorter ones are fine anyhow."""

SLOW_KEPT = 10_000

OURS = frozenset({"info", "slowlog|get", "slowlog|reset", "config|set"})
"""Commands of this module, which do not count."""


@dataclass(frozen=True)
class Cost:
    """What `units` operations took. Trips: round trips of the client; commands: those that scripts gave, and they."""

    name: str
    units: int
    wall_s: float
    client_s: float
    server_s: float
    trips: float
    commands: float
    hosts: int = 0
    pending: int = 0
    batch: int = 1

    @property
    def rate(self) -> float:
        return self.units / self.wall_s

    def each_us(self, seconds: float) -> float:
        return seconds * 1e6 / self.units

    def __str__(self) -> str:
        return (
            f"  {self.name:<28} {self.pending:>10,} pending {self.hosts:>7,} hosts, batch {self.batch:>3}: "
            f"{self.rate:>7,.0f} /s, client {self.each_us(self.client_s):>6.1f} us, "
            f"server {self.each_us(self.server_s):>6.1f} us, {self.trips / self.units:.3f} trips, "
            f"{self.commands / self.units:.2f} commands"
        )


class Probe:
    """Asks as admin. It sets the slow log its own way."""

    def __init__(self, server: RedisServer) -> None:
        self._admin = server.admin
        folder = Path(scripts.__file__).with_name("lua")
        self._names = {scripts.script(path.stem).sha: path.stem for path in folder.glob("*.lua")}
        self._admin.config_set("slowlog-log-slower-than", SLOW_US)
        self._admin.config_set("slowlog-max-len", SLOW_KEPT)
        self._admin.slowlog_reset()

    def used(self) -> tuple[float, int]:
        """CPU seconds of the server without its children, and commands carried out, those of scripts included."""
        info = self._admin.info("cpu", "commandstats")
        calls = (
            row["calls"]
            for name, row in info.items()
            if name.startswith("cmdstat_") and name.removeprefix("cmdstat_") not in OURS
        )
        return info["used_cpu_sys"] + info["used_cpu_user"], sum(calls)

    def used_bytes(self) -> int:
        """used_memory, when what was deleted is freed, no log is being rewritten and it moves no more."""
        last = 0
        for _ in range(600):
            info = self._admin.info("memory", "persistence")
            used = int(info["used_memory"])
            quiet = not info["lazyfree_pending_objects"] and not info["aof_rewrite_in_progress"]
            if quiet and abs(used - last) < max(1_000, used / 10_000):
                return used
            last = used
            time.sleep(0.2)
        raise RuntimeError("the memory of the server did not come to rest")

    def slow(self) -> list[tuple[str, int]]:
        """(script, its microseconds) of those above `SLOW_US` since the last call. Loading and compiling is not among
        them: SCRIPT LOAD does that."""
        entries = self._admin.slowlog_get(SLOW_KEPT)
        self._admin.slowlog_reset()
        found = []
        for entry in entries:
            name, _, rest = entry["command"].partition(b" ")
            if name.upper() == b"EVALSHA":
                sha = rest[:40].decode()
                found.append((self._names.get(sha, sha), int(entry["duration"])))
        return found


@dataclass
class Meter:
    """Adds up what the `running()` blocks take, here and on the server."""

    name: str
    probe: Probe
    wire: Wire
    watch: Stopwatch = field(init=False)
    server_s: float = 0.0
    trips: int = 0
    commands: int = 0
    slow: dict[str, list[int]] = field(default_factory=dict)
    """Microseconds of each script's slow runs."""

    def __post_init__(self) -> None:
        self.watch = Stopwatch(self.name, 0)

    @contextmanager
    def running(self, units: int) -> Iterator[None]:
        cpu, commands = self.probe.used()
        trips = self.wire.trips
        self.watch.start()
        yield
        self.watch.stop()
        cpu_after, commands_after = self.probe.used()
        self.watch.units += units
        self.server_s += cpu_after - cpu
        self.commands += commands_after - commands
        self.trips += self.wire.trips - trips
        for script, duration in self.probe.slow():
            self.slow.setdefault(script, []).append(duration)

    def cost(self, *, hosts: int, pending: int, batch: int) -> Cost:
        watch = self.watch
        return Cost(
            self.name,
            watch.units,
            watch.wall_s,
            watch.cpu_s,
            self.server_s,
            self.trips,
            self.commands,
            hosts,
            pending,
            batch,
        )
