"""Selects the pairs for a calibration: spread over a whole recording, all of one size."""

from collections import Counter
from collections.abc import Iterable

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.sources import SourceItem


def collect(source: Iterable[SourceItem], most: int) -> tuple[list[tuple[str, FramePair]], list[str]]:
    """At most ``most`` pairs with their names, evenly spread, and sentences on what was left out. Raises SourceError where there is none.

    The source may be long: at no time more than ``2 * most`` pairs are kept.
    """
    kept: list[tuple[str, FramePair]] = []
    step, remarks = 1, []
    for index, item in enumerate(source):
        if item.error:
            remarks.append(f"left out: {item.name}: {item.error}")
        elif index % step == 0 and item.pair is not None:
            kept.append((item.name, item.pair))
        if len(kept) >= 2 * most:
            kept, step = kept[::2], 2 * step
    if not kept:
        raise SourceError("; ".join(remarks[:3]) or "the source holds no pair: see what it holds with `aenet inspect`")
    kept = [kept[index * len(kept) // min(most, len(kept))] for index in range(min(most, len(kept)))]
    sizes = [(pair.thermal.size, pair.rgb.size) for _, pair in kept]
    usual, count = Counter(sizes).most_common(1)[0]
    if count < len(kept):
        thermal, rgb = (f"{width}x{height}" for height, width in usual)
        remarks.append(f"{len(kept) - count} pairs left out: their sizes are not thermal {thermal}, rgb {rgb}, which most have")
    return [item for item, size in zip(kept, sizes, strict=True) if size == usual], remarks
