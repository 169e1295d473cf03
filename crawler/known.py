"""A bounded memory of what the frontier is known to have seen, so that repeats stay off the wire."""

from __future__ import annotations

from collections.abc import Iterable


class Known:
    """Fingerprints confirmed by the frontier. Two generations of `size // 2`: when the young one is full the old one is
    forgotten, so memory is bounded and what is met often stays. Forgetting costs a repeat on the wire, nothing else."""

    def __init__(self, size: int) -> None:
        """`size`: fingerprints remembered at most; about 70 bytes each."""
        self._half = max(1, size // 2)
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __contains__(self, fingerprint: int) -> bool:
        if fingerprint in self._young:
            return True
        if fingerprint in self._old:
            self._remember(fingerprint)
            return True
        return False

    def update(self, fingerprints: Iterable[int]) -> None:
        for fingerprint in fingerprints:
            self._remember(fingerprint)

    def clear(self) -> None:
        """Forget all: after a connection was lost, the store may have been rolled back."""
        self._young.clear()
        self._old.clear()

    def _remember(self, fingerprint: int) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, set()
        self._young.add(fingerprint)
