"""A million seeds into SQLite by `crawler seed`: time, memory, and how quickly `status` answers meanwhile.

python -m tests.bench.seed [--urls 1000000] [--hosts 1000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.contestants import CHECKOUT
from tests.bench.measure import pss_bytes

CRAWLER = (sys.executable, "-m", "crawler")
STATUS_EVERY_S = 1.0


@dataclass
class Seen:
    """What was seen from outside while the seeder ran."""

    peak_bytes: int = 0
    status_s: list[float] = field(default_factory=list)
    """How long each `crawler status` took, its own start included."""
    status_cpu_s: float = 0.0
    """CPU time of all of them: on a busy machine they mostly wait for a core."""


def write_list(path: Path, count: int, hosts: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(f"http://h{number % hosts}.example/shop/product/{number}\n" for number in range(count))


def watch(process: subprocess.Popen[bytes], state: Path) -> Seen:
    """Sample the seeder's memory, and ask for the status every second, until it ends; it is not waited for."""
    seen = Seen()
    ask_at = time.monotonic() + STATUS_EVERY_S
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        seen.peak_bytes = max(seen.peak_bytes, pss_bytes(process.pid))
        if time.monotonic() >= ask_at:
            began = time.monotonic()
            command = [*CRAWLER, "status", "--state", str(state), "--json"]
            status = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
            _, code, used = os.wait4(status.pid, 0)
            status.returncode = os.waitstatus_to_exitcode(code)
            if status.returncode:
                raise RuntimeError(f"status ended with {status.returncode}")
            seen.status_s.append(time.monotonic() - began)
            seen.status_cpu_s += used.ru_utime + used.ru_stime
            ask_at = time.monotonic() + STATUS_EVERY_S
        time.sleep(0.05)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seed", description="Many seeds into SQLite.")
    parser.add_argument("--urls", type=int, default=1_000_000, help="how many (default %(default)s)")
    parser.add_argument("--hosts", type=int, default=1_000, help="hosts they are spread over (default %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Path(name)
        write_list(home / "urls.txt", given.urls, given.hosts)
        state = home / "state.db"
        began = time.monotonic()
        process = subprocess.Popen([*CRAWLER, "seed", str(home / "urls.txt"), "--state", str(state)], cwd=CHECKOUT)
        seen = watch(process, state)
        wall = time.monotonic() - began
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = used.ru_utime + used.ru_stime
        print(f"{given.urls:,} seeds on {given.hosts:,} hosts: {wall:.1f} s, {cpu:.1f} s CPU, ", end="")
        print(f"peak {seen.peak_bytes / 1e6:.0f} MB, file {state.stat().st_size / 1e6:.0f} MB")
        if seen.status_s:
            mean = sum(seen.status_s) / len(seen.status_s)
            cpu = seen.status_cpu_s / len(seen.status_s)
            print(f"status meanwhile, {len(seen.status_s)} times: mean {mean:.3f} s, ", end="")
            print(f"worst {max(seen.status_s):.3f} s, {cpu:.3f} s CPU each")
        return process.returncode


if __name__ == "__main__":
    sys.exit(main())
