"""Frames of several streams that arrive one by one, put together to instants."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

LEADERS = ("registered", "fused", "rgb", "thermal")
"""Who completes an instant, the first that is alive: the node sends the registered thermal frame last of one stamp."""

KEEP = 30
ALIVE_NS = 2_500_000_000
"""A node that fuses less often than this is not waited for."""


class StampGrouper(Generic[T]):
    """Keeps the latest frames of each of LEADERS' streams; times are in nanoseconds, of any clock that only rises."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[int, T]] = {}
        self._seen_ns: dict[str, int] = {}

    def add(self, stream: str, stamp_ns: int, frame: T, now_ns: int) -> dict[str, T]:
        """A frame came. An instant that it completes: of each living stream the frame of the same stamp, else the nearest; or nothing."""
        kept = self._kept.setdefault(stream, OrderedDict())
        kept[stamp_ns] = frame
        if len(kept) > KEEP:
            kept.popitem(last=False)
        self._seen_ns[stream] = now_ns
        alive = [name for name in LEADERS if now_ns - self._seen_ns.get(name, now_ns - ALIVE_NS) < ALIVE_NS]
        if stream != alive[0]:
            return {}
        return {name: self._kept[name][self._nearest(name, stamp_ns)] for name in alive}

    def _nearest(self, stream: str, stamp_ns: int) -> int:
        return min(self._kept[stream], key=lambda other: abs(other - stamp_ns))

    def forget(self) -> None:
        """A stream was left, or time jumped."""
        self._kept, self._seen_ns = {}, {}
