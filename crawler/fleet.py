"""The fleet: N processes forked from this preloaded one and kept alive.

A child whose `main` returned 0 has finished and stays away; one whose `main` returned 2 (settings) ends the fleet. Any
other end is a death, whatever the exit code (a page may call os._exit(0)): its leases are forfeited at once and it is
forked again, at once if it had settled something, else after a growing wait. The first SIGTERM or SIGINT is for the
caller to act on (`signals`); children ignore SIGINT, so Ctrl-C reaches them only through their supervisor. The
supervisor runs no threads and keeps no store open while it forks.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from types import FrameType

import msgspec

log = logging.getLogger("crawler.fleet")

BACKOFF_S = 0.1
BACKOFF_MAX_S = 10.0
KILL_AFTER_S = 5.0
"""A child that has not exited so long after its grace time is killed."""

EXIT_BUG = 1
EXIT_SETTINGS = 2


def _verdict(fd: int) -> int | None:
    """What the child said that its `main` returned; None: it did not get to say."""
    os.set_blocking(fd, False)
    try:
        said = os.read(fd, 1)
    except BlockingIOError:  # a process that it left behind still has the other end
        said = b""
    finally:
        os.close(fd)
    return said[0] if said else None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the fleet."""

    role: str
    name: str
    main: Callable[[str], int]
    """Runs in the child with the incarnation's own name; its result is the exit code."""
    died: Callable[[str], bool] = lambda name: True
    """Called in the supervisor with a dead incarnation's name: forfeit. True: it had settled something."""
    again: bool = True
    """Whether it is started again after a death."""


class Exit(msgspec.Struct, frozen=True):
    member: Member
    code: int
    """Negative: ended by that signal."""


class _Child:
    """One member's present incarnation."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.pid = 0
        self.verdict_fd = -1  # where it writes what its `main` returned: an exit code alone may be a page's doing
        self.name = ""
        self.failures = 0
        self.start_at = 0.0
        self.kill_at = 0.0
        self.wanted = True


class Fleet:
    """Use as a context manager: leaving it kills what is left."""

    def __init__(self, members: Sequence[Member], *, grace_s: float) -> None:
        self._children = [_Child(member) for member in members]
        self._grace_s = grace_s
        self.restarts = 0
        self.signals: list[int] = []
        """SIGTERM and SIGINT received so far."""

    def __enter__(self) -> Fleet:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        gc.freeze()  # what is loaded now stays in pages shared with the children
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def pids(self) -> tuple[int, ...]:
        return tuple(child.pid for child in self._alive())

    def names(self) -> frozenset[str]:
        """Of the incarnations that live."""
        return frozenset(child.name for child in self._alive())

    def running(self, role: str) -> int:
        """Members of the role that are alive, or dead and to be started again."""
        return sum(child.wanted for child in self._children if child.member.role == role)

    def wait(self, timeout_s: float) -> tuple[Exit, ...]:
        """Start what is due, sleep until a child ends, a signal comes or the time is over; returns who ended."""
        now = monotonic()
        for child in self._children:
            if child.wanted and not child.pid and child.start_at <= now:
                self._fork(child)
        due = [child.start_at for child in self._children if child.wanted and not child.pid]
        due += [child.kill_at for child in self._alive() if child.kill_at]
        select.select([self._read], [], [], max(0.0, min([timeout_s, *(at - monotonic() for at in due)])))
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        self._kill_overdue()
        return tuple(self._reap())

    def stop(self, role: str) -> None:
        """Ask the role's members to drain and not to be started again."""
        for child in self._children:
            if child.member.role == role and child.wanted:
                child.wanted = False
                child.kill_at = monotonic() + self._grace_s + KILL_AFTER_S
                if child.pid:
                    os.kill(child.pid, signal.SIGTERM)

    def revive(self, role: str) -> None:
        """Start those of the role again that have finished; not those that were stopped."""
        for child in self._children:
            if child.member.role == role and not child.pid and not child.kill_at:
                child.wanted, child.start_at = True, 0.0

    def alive(self, role: str) -> bool:
        return any(child.member.role == role for child in self._alive())

    def kill(self) -> None:
        """A second signal: end everything now."""
        for child in self._children:
            child.wanted = False
            if child.pid:
                os.kill(child.pid, signal.SIGKILL)

    def _alive(self) -> Iterator[_Child]:
        return (child for child in self._children if child.pid)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)

    def _fork(self, child: _Child) -> None:
        tag = secrets.token_hex(4)
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes before the child has its own handlers must not fall into the supervisor's.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        child.verdict_fd, verdict_fd = os.pipe()
        try:
            child.pid = os.fork()
            child.name = f"{child.member.name}-{child.pid or os.getpid()}-{tag}"
            if not child.pid:
                os._exit(self._child_main(child, blocked, verdict_fd))
        finally:
            os.close(verdict_fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _child_main(self, child: _Child, mask: Iterable[int], verdict_fd: int) -> int:
        """In the child: never returns into the supervisor's code."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._read)
            os.close(self._write)
            code = child.member.main(child.name)
            os.write(verdict_fd, bytes([code]))
            return code
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _kill_overdue(self) -> None:
        for child in self._alive():
            if child.kill_at and child.kill_at <= monotonic():
                log.warning("%s did not stop within its grace time and is killed", child.name)
                os.kill(child.pid, signal.SIGKILL)
                child.kill_at = 0.0

    def _reap(self) -> Iterator[Exit]:
        for child in tuple(self._alive()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            child.pid = 0
            code = os.waitstatus_to_exitcode(status)
            verdict = _verdict(child.verdict_fd)
            if code == verdict and code in (0, EXIT_SETTINGS):
                child.wanted = False
            else:
                self._died(child, code)
                code = code if code not in (0, EXIT_SETTINGS) else EXIT_BUG
            yield Exit(child.member, code)

    def _died(self, child: _Child, code: int) -> None:
        settled = child.member.died(child.name)
        child.failures = 0 if settled else child.failures + 1
        wait_s = 0.0 if settled else min(BACKOFF_S * 2 ** (child.failures - 1), BACKOFF_MAX_S)
        child.start_at = monotonic() + wait_s
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        if child.wanted and not child.member.again:
            child.wanted = False
            log.warning("%s %s; it cannot be started again", child.name, how)
        if child.wanted:
            self.restarts += 1
            log.warning("%s %s; starting again%s", child.name, how, f" in {wait_s:.1f} s" if wait_s else "")
