"""The tokens that a process holds: renewed by a thread that parsing cannot starve, lost by the process's own clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from crawler.error import BackendError

RENEWALS_PER_LEASE = 3
RETRY_S = 1.0
"""Wait before asking again when the store could not answer."""


class Keeper:
    """Renews what it holds three times a lease. A token is lost when the store says so, or when no renewal has
    succeeded for a whole lease by this process's monotonic clock, whatever the store's clock says."""

    def __init__(
        self,
        renew: Callable[[Sequence[str]], tuple[str, ...]],
        lease_s: float,
        on_lost: Callable[[tuple[str, ...]], None] = lambda tokens: None,
    ) -> None:
        """`on_lost` is called in the keeper's thread with tokens that the store no longer counts as current."""
        self._renew = renew
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._expiry: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def hold(self, tokens: Iterable[str], asked_s: float) -> None:
        """`asked_s`: `time.monotonic()` before the lease was asked for, the earliest instant it can have begun."""
        with self._lock:
            self._expiry.update(dict.fromkeys(tokens, asked_s + self._lease_s))

    def holds(self, token: str) -> bool:
        return self._expiry.get(token, 0.0) > monotonic()

    def drop(self, tokens: Iterable[str]) -> None:
        with self._lock:
            for token in tokens:
                self._expiry.pop(token, None)

    def __len__(self) -> int:
        return len(self._expiry)

    def _run(self) -> None:
        wait_s = self._lease_s / RENEWALS_PER_LEASE
        while not self._stop.wait(wait_s):
            try:
                self._renew_all()
                wait_s = self._lease_s / RENEWALS_PER_LEASE
            except BackendError:
                wait_s = min(RETRY_S, self._lease_s / RENEWALS_PER_LEASE)

    def _renew_all(self) -> None:
        with self._lock:
            tokens = tuple(self._expiry)
        if not tokens:
            return
        asked_s = monotonic()
        lost = frozenset(self._renew(tokens))
        with self._lock:
            for token in tokens:
                if token in lost:
                    self._expiry.pop(token, None)
                elif token in self._expiry:
                    self._expiry[token] = asked_s + self._lease_s
        if lost:
            self._on_lost(tuple(lost))
