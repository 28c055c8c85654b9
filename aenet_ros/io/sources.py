"""Opens pairs from files, and reads those from picture files and folders of pictures. Videos: ``video_source``; bags: ``bag_source``."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.files import FLIR_CELSIUS, VIDEO_SUFFIXES, first_names, read_rgb, read_thermal
from aenet_ros.io.name_matching import is_same, match_files
from aenet_ros.io.pairing import FilePairs, camera_folders, pair_files, pictures_in
from aenet_ros.io.picture_checks import check_pictures
from aenet_ros.io.source import Source, SourceItem, prefetch


def open_source(
    thermal: Path | None,
    rgb: Path | None,
    sync: SyncConfig | None = None,
    *,
    in_order: bool = False,
    pairs: Path | None = None,
    sequence_hz: float = 0.0,
    thermal_side: str = "left",
    depth: Path | None = None,
    threads: int = 1,
    force: bool = False,
) -> Source:
    """Two pictures, folders of pictures, two videos, or one video that shows both cameras side by side.

    Files of folders are paired by ``pair_files``, as ``in_order`` and the list ``pairs`` say; one folder may hold both cameras' pictures.
    ``sequence_hz`` > 0: a folder holds consecutive frames at that rate; for a raw video stream, which stores no times, its rate.
    ``thermal_side``: ``left`` or ``right`` half of a side-by-side video. ``depth``: a depth picture aligned to the rgb picture, or a folder
    of them with the rgb pictures' names. ``threads`` decode pictures ahead.
    ``force``: pictures that seem to be given the wrong way round are taken as they are given.
    Raises SourceError with what is missing or does not fit.
    """
    for path in (thermal, rgb, depth):
        if path is not None and not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    if rgb is None and thermal is not None and thermal.is_dir():
        thermal, rgb = camera_folders(thermal) or (thermal, thermal)
    if pairs is not None or thermal is None or (thermal.is_dir() and rgb is not None and rgb.is_dir()):
        if depth is not None and not depth.is_dir():
            raise SourceError(f"--depth {depth}: give a folder with folders of pictures, and a picture with single pictures")
        found = pair_files(thermal, rgb, sync, in_order=in_order, pairs=pairs)
        return PictureSource(found, sequence_hz, depth, threads, force)
    if rgb is None:
        if thermal.suffix.lower() in VIDEO_SUFFIXES:
            return _open_videos([thermal], sync, thermal_side, sequence_hz, force)
        raise SourceError(
            f"'{thermal}' alone is not enough: give the rgb file or folder too "
            "(a bag, a side-by-side video, or a folder that holds both cameras' pictures can be given alone)"
        )
    if thermal.is_dir() != rgb.is_dir():
        folder, file = (thermal, rgb) if thermal.is_dir() else (rgb, thermal)
        raise SourceError(f"'{folder}' is a folder and '{file}' a file; give two folders or two files")
    if thermal.suffix.lower() in VIDEO_SUFFIXES and rgb.suffix.lower() in VIDEO_SUFFIXES:
        if depth is not None:
            raise SourceError(f"--depth {depth}: depth goes with pictures and bags, not with videos")
        return _open_videos([thermal, rgb], sync, thermal_side, sequence_hz, force)
    if depth is not None and depth.is_dir():
        raise SourceError(f"--depth {depth}: give a folder with folders of pictures, and a picture with single pictures")
    if is_same(thermal, rgb):
        raise SourceError(f"'{thermal}' is given as thermal and as rgb picture; give two files")
    return PictureSource(FilePairs([(thermal, rgb)], "", []), sequence_hz, depth, threads, force)


def _open_videos(files: list[Path], sync: SyncConfig | None, thermal_side: str, assumed_hz: float, force: bool) -> Source:
    from aenet_ros.io.video_source import VideoSource  # needs PyAV, which pictures do not

    return VideoSource(files, sync or SyncConfig(), thermal_side, assumed_hz, force)


class PictureSource(Source):
    """Pairs of picture files; see ``open_source`` and ``Source``."""

    def __init__(self, found: FilePairs, sequence_hz: float, depth: Path | None, threads: int, force: bool) -> None:
        super().__init__()
        self._pairs, self.pairing, self.remarks, self._threads = found.files, found.shown, found.remarks, threads
        self.timed, self.rate_hz = sequence_hz > 0, sequence_hz
        self.total = len(self._pairs)
        self.names = [rgb.stem for _, rgb in self._pairs]
        self._depths = self._find_depths(depth)
        self.files = [path for pair in self._pairs for path in pair] + list(self._depths.values())
        doubts, self._rgb_bits, self.celsius = check_pictures(self._pairs, force)
        self.remarks += doubts
        self._notes: dict[str, list[str]] = {}  # names of the files by what is to be said of them

    def __iter__(self) -> Iterator[SourceItem]:
        self._notes.clear()
        yield from prefetch((partial(self._read, index) for index in range(self.total)), self._threads)
        self.remarks += [f"{first_names(sorted(names))}: {note}" for note, names in sorted(self._notes.items())]

    def _read(self, index: int) -> SourceItem:
        thermal, rgb = self._pairs[index]
        name = rgb.stem
        if name in self.skip and not self.timed:
            return SourceItem(name)
        stamp_ns = frame_stamp_ns(index, self.rate_hz) if self.timed else 0
        depth = self._depths.get(name)
        try:
            # Depth pictures have the types of thermal ones: 16 bit (millimetres) or float (metres).
            depth_frame = read_thermal(depth, stamp_ns) if depth else None
            thermal_notes: list[str] = []
            rgb_notes: list[str] = []
            pair = FramePair(
                read_thermal(thermal, stamp_ns, thermal_notes), read_rgb(rgb, stamp_ns, rgb_notes, self._rgb_bits), depth=depth_frame
            )
            if (FLIR_CELSIUS in thermal_notes) != self.celsius:
                raise SourceError(
                    f"{thermal} holds {'raw counts' if self.celsius else 'degrees Celsius'}, unlike the first file: give them apart"
                )
        except SourceError as error:
            return SourceItem(name, error=str(error))
        for path, notes in ((thermal, thermal_notes), (rgb, rgb_notes)):
            for note in notes:
                self._notes.setdefault(note, []).append(path.name)
        return SourceItem(name, pair)

    def _find_depths(self, depth: Path | None) -> dict[str, Path]:
        """Depth pictures by the rgb picture's name."""
        if depth is None:
            return {}
        if not depth.is_dir():
            return {self.names[0]: depth}
        depths, rgbs = pictures_in(depth), [rgb for _, rgb in self._pairs]
        found = {rgb.stem: path for path, rgb in match_files(depths, rgbs, SyncConfig())[0]}
        if not found:
            names = first_names(path.name for path in depths)
            raise SourceError(f"--depth {depth}: no file there ({names}) has the name of an rgb picture ({first_names(self.names)})")
        if missing := [name for name in self.names if name not in found]:
            self.remarks.append(f"{len(missing)} pairs have no depth picture of their name in {depth}: {first_names(missing)}")
        return found


def frame_stamp_ns(index: int, rate_hz: float) -> int:
    """Stamp of a file's frame ``index``. The first is 1 s, since a stamp of 0 means that there is none."""
    return 1_000_000_000 + round(index * 1e9 / rate_hz)
