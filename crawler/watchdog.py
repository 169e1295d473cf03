"""Ends this process when one page is parsed for too long.

The kernel's timer with the default action of SIGALRM: it works while a C function (a regular expression, a parser)
holds the interpreter's lock for ever, when no thread and no signal handler of Python would run. The fleet sees a death
like any other; the page becomes a suspect. Main thread of a forked worker only.
"""

from __future__ import annotations

import signal


class Watchdog:
    """`with watchdog:` around the parsing of one page. Cost: 1 µs."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
