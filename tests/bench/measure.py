"""What a command and everything it starts uses: wall time, CPU time, memory. Linux only.

CPU time is exact: this process adopts orphans (PR_SET_CHILD_SUBREAPER) and waits for every descendant, so all of it
arrives in its account of children. Memory is the most that the sum of the tree's PSS (each shared page counted once)
was at one of the samples, taken every `SAMPLE_S`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SAMPLE_S = 0.1

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Usage:
    wall_s: float
    cpu_s: float
    """User and system, of the whole process tree from its start to its end."""
    peak_mb: float
    """In 10**6 bytes."""
    code: int
    """Exit code; negative: ended by that signal."""
    stdout: str
    stderr: str


def measure(
    command: Sequence[str | Path],
    *,
    home: Path,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 600.0,
) -> Usage:
    """Run a command to its end; its output is kept below `home`. After `timeout_s` its process group is killed.

    The caller must have no other children: what they use would be counted too.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with (home / "stdout").open("w+b") as out, (home / "stderr").open("w+b") as err:
        before = _children_cpu_s()
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        peak = 0
        while (code := process.poll()) is None:
            peak = max(peak, sum(map(pss_bytes, tree(process.pid))))
            if time.monotonic() - began > timeout_s:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(SAMPLE_S)
        wall = time.monotonic() - began
        _reap_orphans(process.pid)
        return Usage(wall, _children_cpu_s() - before, peak / 1e6, code, _text(out), _text(err))


def tree(pid: int) -> list[int]:
    """This process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
            for task in tasks:
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def pss_bytes(pid: int) -> int:
    """Memory of a process, with its share of what it shares; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap_orphans(group: int) -> None:
    """Wait for descendants that outlived the command; those still running are ended."""
    while True:
        try:
            pid, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
