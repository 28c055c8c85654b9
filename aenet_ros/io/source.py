"""What a source of pairs is, and reading ahead of the work."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from aenet_ros.config import Config, InputConfig, build
from aenet_ros.core.camera import Camera
from aenet_ros.core.crop import crop_frame
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import FramePair
from aenet_ros.core.process import MAX_AUTO_THREADS, allowed_cores
from aenet_ros.sync.matcher import DROP_REASONS, PairMatcher
from aenet_ros.thermal.temperature import with_driver_profile

T = TypeVar("T")


class SourceItem(NamedTuple):
    """One pair of a source, or the reason why it is missing."""

    name: str  # of the result: a file's stem, a frame's number or its stamp
    pair: FramePair | None = None  # None: not read
    error: str = ""  # why it cannot be read; empty without a pair: it is in Source.skip


class Source(ABC):
    """Pairs in order. The constructor checks what it can without reading everything."""

    timed = True  # consecutive frames of two cameras; False: each pair stands alone
    total: int  # number of pairs, or an upper estimate
    rate_hz: float  # pairs a second, if timed
    names: Sequence[str] = ()  # of all pairs, if they are known before reading
    files: list[Path]  # every file that is read, so that no result overwrites one
    celsius = False  # the thermal frames are degrees Celsius, whatever agc.profile says
    profile = ""  # of agc.profile, where the camera's driver makes it certain
    inputs = InputConfig()  # the parts of the frames that are used, see ``cropped``; to be set before reading

    def __init__(self) -> None:
        self.pairing = ""  # a sentence on how files are paired, and the first pairs
        self.remarks: list[str] = []  # sentences on what is left out and why; complete after the last item
        self.intrinsics: dict[str, Camera] = {}  # by role (thermal, rgb), if the source describes the cameras
        self.skip: frozenset[str] = frozenset()  # names of pairs whose results exist; they are not read if pairs stand alone

    def configured(self, config: Config) -> Config:
        """``config`` with what the source knows of its thermal values: degrees, or the profile of the driver, which a remark names."""
        if self.celsius:
            return build({"agc.profile": "celsius"}, config)
        config, text = with_driver_profile(config, self.profile)
        self.remarks += [text] if text else []
        return config

    @abstractmethod
    def __iter__(self) -> Iterator[SourceItem]: ...


def cropped(source: Source) -> Iterator[SourceItem]:
    """The items of a source with the parts of the frames that ``source.inputs`` says; an item with an error where a frame has none."""
    thermal, rgb = source.inputs.thermal.rectangle, source.inputs.rgb.rectangle
    for item in source:
        if item.pair is None or not (thermal or rgb):
            yield item
            continue
        pair = item.pair
        try:
            depth = crop_frame(pair.depth, rgb, "input.rgb.crop") if pair.depth else None
            cut = crop_frame(pair.thermal, thermal, "input.thermal.crop"), crop_frame(pair.rgb, rgb, "input.rgb.crop")
            yield SourceItem(item.name, replace(pair, thermal=cut[0], rgb=cut[1], depth=depth))
        except ImageError as error:
            yield SourceItem(item.name, error=str(error))


def dropped_frames(matcher: PairMatcher) -> list[str]:
    """Sentences on the frames that found no partner."""
    return [f"{count} frames left out: {DROP_REASONS[reason]}" for reason, count in matcher.counts.dropped.items() if count]


def file_threads() -> int:
    """Number of threads for files that do not depend on one another."""
    return min(MAX_AUTO_THREADS, allowed_cores())


def prefetch(tasks: Iterable[Callable[[], T]], threads: int = 1) -> Iterator[T]:
    """The tasks' results in their order; up to ``threads`` tasks run while the caller uses a result.

    With one thread the tasks also run in their order. A task's exception is raised in its place.
    """
    with ThreadPoolExecutor(threads, "prefetch") as pool:
        running: deque[Future[T]] = deque()
        try:
            for task in tasks:
                running.append(pool.submit(task))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def prefetch_items(items: Iterable[T]) -> Iterator[T]:
    """The items; a thread makes the next one while the caller uses one."""
    end: Any = object()
    iterator = iter(items)
    for item in prefetch(repeat(partial(next, iterator, end))):
        if item is end:
            return
        yield item
