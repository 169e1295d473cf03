"""What one operation costs: wall and CPU time of a block, per unit, as a line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Stopwatch:
    """`with Stopwatch("add", units):` prints the rate and the cost of one unit when the block ends. `lap` runs only the
    parts of a block that count."""

    name: str
    units: int
    wall_s: float = 0.0
    cpu_s: float = 0.0
    _began: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def start(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        wall, cpu = self._began
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            print(self, flush=True)

    def __str__(self) -> str:
        rate = self.units / self.wall_s if self.wall_s else 0.0
        cpu_us = self.cpu_s * 1e6 / max(1, self.units)
        return f"  {self.name:<34} {rate:>12,.0f} /s {cpu_us:>9.2f} us CPU each {self.wall_s:>9.3f} s"
