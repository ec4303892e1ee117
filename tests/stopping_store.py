"""A store that stops at a chosen call, as if the power went or an answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from archiver.errors import StoreUnreachableError
from archiver.store import ObjectInfo, Store

# The call is made or not before it fails: who asked cannot tell.
Effect = Literal["before", "after"]

WRITES = frozenset({"create", "replace", "delete"})


class PowerLoss(BaseException):
    """The process is gone."""


class StoppingStore:
    """Passes calls on to another store and fails at the call with number ``at``, counted from 1.

    ``crash`` ends the process there: that call and every later one raises `PowerLoss`. Without it that one call raises
    `StoreUnreachableError` and later ones work again. ``only`` narrows the calls that are counted.
    """

    def __init__(
        self, store: Store, *, at: int, effect: Effect, crash: bool = True, only: frozenset[str] | None = None
    ) -> None:
        self.inner = store
        self.calls = 0
        self._at = at
        self._effect = effect
        self._crash = crash
        self._only = only
        self._off = False

    @property
    def url(self) -> str:
        return self.inner.url

    def create(self, key: str, data: bytes | Path) -> None:
        self._call("create", lambda: self.inner.create(key, data))

    def replace(self, key: str, data: bytes) -> None:
        self._call("replace", lambda: self.inner.replace(key, data))

    def read(self, key: str) -> bytes:
        return self._call("read", lambda: self.inner.read(key))

    def open(self, key: str) -> BinaryIO:
        return self._call("open", lambda: self.inner.open(key))

    def stat(self, key: str) -> ObjectInfo:
        return self._call("stat", lambda: self.inner.stat(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._call("list", lambda: iter(list(self.inner.list(prefix, after=after))))

    def delete(self, key: str) -> None:
        self._call("delete", lambda: self.inner.delete(key))

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        if self._off:
            raise PowerLoss
        if self._only is not None and name not in self._only:
            return call()
        self.calls += 1
        if self.calls != self._at:
            return call()
        self._off = self._crash
        if self._effect == "after":
            call()
        raise PowerLoss if self._crash else StoreUnreachableError(f"no answer to {name}")
