"""Ends this process when one page is parsed for too long, or takes more memory than there is.

Time: the kernel's timer with the default action of SIGALRM. It works while a C function (a regular expression, a
parser) holds the interpreter's lock for ever, when no thread and no signal handler of Python would run. The fleet sees
a death like any other; the page becomes a suspect. Main thread of a forked worker only.

Memory: a parser can make gigabytes of a page of kilobytes, since styles that were not ended begin again in each
paragraph (HTML standard 13.2.4.3). What would go beyond the limit is a MemoryError, and the page is to blame as for any
exception. Unless the memory stays taken: then it may be another page's or the spider's, and the process ends, so that
no page is blamed that another worker can parse.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
from typing import Final

log = logging.getLogger("crawler.worker")

EXIT_MEMORY: Final = 1
FULL: Final = 0.75
"""Of the limit: what a process has after an exception so that it is taken to be full."""
_PAGE_BYTES: Final = resource.getpagesize()


class Watchdog:
    """`with watchdog:` around the parsing of one page. Cost: 1 µs."""

    def __init__(self, seconds: float, bytes_max: int = 0) -> None:
        """`bytes_max`: of this process's data (RLIMIT_DATA: on Linux all that it has for itself alone); 0: no limit."""
        self._seconds = seconds
        self._bytes_max = bytes_max
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if bytes_max and (most == resource.RLIM_INFINITY or bytes_max < most):
            resource.setrlimit(resource.RLIMIT_DATA, (bytes_max, most))

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if kind is not None and self._bytes_max and _data_bytes() > FULL * self._bytes_max:
            log.error("the memory of this worker is full (worker.memory_bytes_max), and a page failed: it ends")
            os._exit(EXIT_MEMORY)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts, and the stack (proc(5), statm); 0 where the system does not tell. Cost: 10 µs."""
    try:
        with open("/proc/self/statm", encoding="ascii") as told:
            return int(told.read().split()[5]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
