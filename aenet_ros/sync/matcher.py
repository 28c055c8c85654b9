"""Pairs the frames of two streams by their stamps: each with the nearest, none twice, and every dropped frame counted."""

import math
import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from aenet_ros.core.frames import Frame, FramePair

DROP_REASONS = {
    "no_partner": "the other stream had no frame for it within the slop, or a nearer one took that",
    "queue_full": "the queue filled up while the other stream was silent",
    "late": "it came after a frame of its stream with a later stamp was already paired",
    "duplicate_stamp": "a frame of its stream with the same stamp came before",
    "zero_stamp": "its stamp is zero or negative, so the driver does not set it",
    "stamp_jump": "stamps jumped back while it waited (a bag started over, or a clock was set)",
}
"""Why a frame was left without a pair: the keys of ``PairCounts.dropped``, in words."""

DEPTH_QUEUE_SIZE = 10  # depth images that wait for pairs

JUMP_NS = 1_000_000_000
"""A stamp that is further back than this behind its stream's latest starts a new epoch; a smaller step is a late frame."""

GAP_SHARE = 0.8
GAP_WINDOW = 16
GAP_MINIMUM = 4
"""The next stamp of a stream is taken to come no sooner than GAP_SHARE of the shortest of its last GAP_WINDOW gaps, once
GAP_MINIMUM gaps were seen. So a pair whose stamps differ by up to 0.4 of the period of the stream that was first leaves at once."""


@dataclass
class PairCounts:
    """What became of the frames: ``2 * pairs + sum(dropped.values()) + pending == thermal_in + rgb_in`` at any time."""

    thermal_in: int = 0
    rgb_in: int = 0
    pairs: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROP_REASONS, 0))


def nearest_pairs(
    thermal: Sequence[int], rgb: Sequence[int], slop_ns: int, thermal_next: float = math.inf, rgb_next: float = math.inf
) -> list[tuple[int, int]]:
    """Index pairs of two rising lists of stamps on one clock, in order of time.

    Candidates within ``slop_ns`` are taken by growing difference (of equal ones the older rgb frame's, then the older thermal
    frame's first), each frame once, and none that would cross a pair already taken. So frames that are each other's nearest are
    always paired, and one lost frame never shifts the pairs after it.

    ``thermal_next`` and ``rgb_next`` bound from below the stamps that are still to come; inf: none will. Only pairs that no such
    stamp can change are returned.
    """
    candidates = []
    for i, stamp in enumerate(thermal):
        for j in range(bisect_left(rgb, stamp - slop_ns), bisect_right(rgb, stamp + slop_ns)):
            candidates.append((abs(stamp - rgb[j]), j, i))
    candidates.sort()
    taken: list[tuple[int, int]] = []
    open_thermal: set[int] = set()
    open_rgb: set[int] = set()
    for difference, j, i in candidates:
        if any((i - a) * (j - b) <= 0 for a, b in taken):
            continue
        # A frame to come wins only where it is strictly nearer. What it may win leaves both partners of this pair open,
        # and an open frame leaves its other candidates open.
        undecided = thermal_next < rgb[j] + difference or rgb_next < thermal[i] + difference
        if undecided or i in open_thermal or j in open_rgb:
            open_thermal.add(i)
            open_rgb.add(j)
        else:
            taken.append((i, j))
    return sorted(taken)


class _Stream:
    """One stream's waiting frames by rising stamp, and its stamps so far."""

    def __init__(self) -> None:
        self.offset_ns = 0
        self.frames: list[Frame] = []
        self.last_ns: int | None = None
        self.paired_ns: int | None = None
        self.gaps: deque[int] = deque(maxlen=GAP_WINDOW)
        self.reached = -math.inf  # no frame to come has an older stamp, on the common clock

    def stamps(self) -> list[int]:
        """The waiting frames' stamps on the common clock."""
        return [frame.stamp_ns - self.offset_ns for frame in self.frames]

    def latest(self) -> float:
        """The latest stamp seen, on the common clock; -inf before the first."""
        return -math.inf if self.last_ns is None else self.last_ns - self.offset_ns

    def next(self) -> float:
        """A lower bound of the stamps to come, on the common clock."""
        if self.reached > -math.inf:
            return max(self.latest() + 1, self.reached)
        gap = math.ceil(GAP_SHARE * min(self.gaps)) if len(self.gaps) >= GAP_MINIMUM else 1
        return self.latest() + max(gap, 1)

    def insert(self, frame: Frame) -> str:
        """Queues the frame in order of stamps; a reason instead where it is too late or a duplicate."""
        stamp = frame.stamp_ns
        if stamp in (self.last_ns, self.paired_ns):
            return "duplicate_stamp"
        if self.paired_ns is not None and stamp < self.paired_ns:
            return "late"
        place = bisect_left([waiting.stamp_ns for waiting in self.frames], stamp)
        if place < len(self.frames) and self.frames[place].stamp_ns == stamp:
            return "duplicate_stamp"
        self.frames.insert(place, frame)
        if self.last_ns is None or stamp > self.last_ns:
            if self.last_ns is not None:
                self.gaps.append(stamp - self.last_ns)
            self.last_ns = stamp
        return ""

    def forget_after(self, limit_ns: float) -> int:
        """Drops waiting frames after ``limit_ns`` (common clock) and forgets stamps after it; the number dropped."""
        kept = bisect_right(self.stamps(), limit_ns)
        dropped = len(self.frames) - kept
        del self.frames[kept:]
        if self.latest() > limit_ns:
            self.last_ns = self.frames[-1].stamp_ns if self.frames else None
            self.paired_ns = None
        return dropped


class PairMatcher:
    """Pairs two streams of any two rates as ``nearest_pairs`` does, each pair as early as it is certain.

    Stamps are integers in ns. ``slop_ns`` is the largest difference of a pair, inclusive (0: equal stamps only);
    ``clock_offset_ns`` (thermal minus rgb of the same instant) is subtracted from the thermal stamps. Both may be set while running.
    At most ``queue_size`` frames of each stream wait. Not thread-safe: push from one thread.

    Pairs leave in order of time. They are those that ``nearest_pairs`` finds in the whole of both streams, for any order of arrival of
    the two, if each stream comes in order of its stamps, no queue overflows, and no gap between two stamps of a stream is shorter than
    GAP_SHARE of the shortest of the GAP_WINDOW before (else a pair may have left with the second-nearest frame). A pair waits for one
    more frame only where that may be nearer: the next frame of the stream whose stamp is the older of the two.

    ``ordered``: the frames of both streams come in one order of their times, as files can be read, less the clock offset. Then no
    queue is limited and no gap is guessed: a pair leaves, or a frame is dropped as ``no_partner``, once no frame to come can matter.
    """

    def __init__(self, slop_ns: int, clock_offset_ns: int = 0, queue_size: int = 10, *, ordered: bool = False) -> None:
        self.slop_ns = slop_ns
        self.queue_size = sys.maxsize if ordered else queue_size
        self._ordered = ordered
        self.counts = PairCounts()
        self._thermal = _Stream()
        self._rgb = _Stream()
        self.clock_offset_ns = clock_offset_ns

    @property
    def clock_offset_ns(self) -> int:
        """Thermal stamp minus rgb stamp of the same instant."""
        return self._thermal.offset_ns

    @clock_offset_ns.setter
    def clock_offset_ns(self, value: int) -> None:
        self._thermal.offset_ns = value

    @property
    def pending(self) -> int:
        """Frames that wait for a partner, of both streams together."""
        return len(self._thermal.frames) + len(self._rgb.frames)

    def push_thermal(self, frame: Frame) -> list[FramePair]:
        """Takes a thermal frame; the pairs that are now certain, oldest first."""
        self.counts.thermal_in += 1
        return self._push(self._thermal, self._rgb, frame)

    def push_rgb(self, frame: Frame) -> list[FramePair]:
        """Takes an rgb frame; the pairs that are now certain, oldest first."""
        self.counts.rgb_in += 1
        return self._push(self._rgb, self._thermal, frame)

    def flush(self) -> list[FramePair]:
        """The pairs left at the end of a finite source; what remains is counted as no_partner, and a new source may begin."""
        pairs = self._pair_all(nearest_pairs(self._thermal.stamps(), self._rgb.stamps(), self.slop_ns))
        for stream in (self._thermal, self._rgb):
            self.counts.dropped["no_partner"] += stream.forget_after(-math.inf)
            stream.gaps.clear()
            stream.reached = -math.inf
        return pairs

    def _push(self, own: _Stream, other: _Stream, frame: Frame) -> list[FramePair]:
        reason = "zero_stamp" if frame.stamp_ns <= 0 else ""
        if not reason:
            if own.last_ns is not None and frame.stamp_ns < own.last_ns - JUMP_NS:
                # The other stream may have jumped first: what it has near the new stamp is of the new epoch already.
                self.counts.dropped["stamp_jump"] += own.forget_after(-math.inf)
                self.counts.dropped["stamp_jump"] += other.forget_after(frame.stamp_ns - own.offset_ns + JUMP_NS)
            reason = own.insert(frame)
        if reason:
            self.counts.dropped[reason] += 1
            return []
        if self._ordered:
            own.reached = other.reached = frame.stamp_ns - own.offset_ns
        pairs = self._decide()
        self._expire(own, other)
        self._expire(other, own)
        return pairs + self._relieve(own)

    def _decide(self) -> list[FramePair]:
        """The pairs that no frame to come can change, and with the last of them all that is older than it."""
        thermal, rgb = self._thermal.stamps(), self._rgb.stamps()
        certain = nearest_pairs(thermal, rgb, self.slop_ns, self._thermal.next(), self._rgb.next())
        if not certain:
            return []
        i, j = certain[-1]
        # Pairs do not cross, so frames older than a certain pair have only each other left.
        return self._pair_all([*nearest_pairs(thermal[:i], rgb[:j], self.slop_ns), (i, j)])

    def _pair_all(self, indices: list[tuple[int, int]]) -> list[FramePair]:
        """Takes these pairs out of the queues, and drops the frames before and between them."""
        if not indices:
            return []
        pairs = []
        for i, j in indices:
            thermal, rgb = self._thermal.frames[i], self._rgb.frames[j]
            pairs.append(FramePair(thermal, rgb, thermal.stamp_ns - self.clock_offset_ns - rgb.stamp_ns))
        i, j = indices[-1]
        del self._thermal.frames[: i + 1], self._rgb.frames[: j + 1]
        self._thermal.paired_ns, self._rgb.paired_ns = pairs[-1].thermal.stamp_ns, pairs[-1].rgb.stamp_ns
        self.counts.pairs += len(pairs)
        self.counts.dropped["no_partner"] += i + 1 + j + 1 - 2 * len(pairs)
        return pairs

    def _expire(self, own: _Stream, other: _Stream) -> None:
        """Drops the oldest frames that have no candidate, and will have none since the other stream has passed them by."""
        stamps, partners = own.stamps(), other.stamps()
        expired = 0
        for stamp in stamps:
            place = bisect_left(partners, stamp - self.slop_ns)
            has_candidate = place < len(partners) and partners[place] <= stamp + self.slop_ns
            if has_candidate or (other.latest() < stamp + self.slop_ns and other.reached <= stamp + self.slop_ns):
                break
            expired += 1
        del own.frames[:expired]
        self.counts.dropped["no_partner"] += expired

    def _relieve(self, own: _Stream) -> list[FramePair]:
        """Makes room: the oldest frame of an overfull queue leaves with the best partner there is by now, or is dropped."""
        pairs: list[FramePair] = []
        while len(own.frames) > self.queue_size:
            found = nearest_pairs(self._thermal.stamps(), self._rgb.stamps(), self.slop_ns)
            if found and found[0][0 if own is self._thermal else 1] == 0:
                pairs += self._pair_all(found[:1])
            else:
                del own.frames[0]
                self.counts.dropped["queue_full"] += 1
        return pairs


class DepthQueue:
    """Joins depth images to pairs: each pair gets the nearest one received so far, at most ``slop_ns`` from its rgb stamp."""

    def __init__(self, slop_ns: int) -> None:
        self._slop_ns = slop_ns
        self._frames: deque[Frame] = deque(maxlen=DEPTH_QUEUE_SIZE)

    def push(self, depth: Frame) -> None:
        """Take a depth image."""
        self._frames.append(depth)

    def join(self, pair: FramePair) -> FramePair:
        """The pair with its depth image; unchanged where there is none."""
        near = [frame for frame in self._frames if abs(frame.stamp_ns - pair.rgb.stamp_ns) <= self._slop_ns]
        return replace(pair, depth=min(near, key=lambda frame: abs(frame.stamp_ns - pair.rgb.stamp_ns))) if near else pair
