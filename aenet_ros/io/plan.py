"""What one call of `aenet fuse` is asked for: which sources there are, and where the result of each goes."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aenet_ros.core.errors import SourceError
from aenet_ros.io.sources import BAG_SUFFIXES, VIDEO_SUFFIXES, is_bag

if TYPE_CHECKING:
    from aenet_ros.config import Config
    from aenet_ros.io.sinks import Sink
    from aenet_ros.io.sources import Source

PANELS = ("thermal", "rgb", "fused")


@dataclass(frozen=True)
class FuseOptions:
    """How to read and to write; empty: decided by the source."""

    to: str = ""
    """``bag``, ``pictures`` or ``video``."""
    suffix: str = ".png"
    """Of pictures."""
    in_order: bool = False
    sequence_hz: float = 0.0
    thermal_side: str = ""
    """``left`` or ``right``: videos show both cameras side by side."""
    depth: Path | None = None
    """Folder of depth pictures."""
    thermal_topic: str = ""
    rgb_topic: str = ""
    depth_topic: str = ""
    keep: tuple[str, ...] = ("all",)
    panels: tuple[str, ...] = ("fused",)
    """What a picture or video frame shows side by side, of PANELS."""
    labels: bool = False
    force: bool = False
    resume: bool = False


class Unit(NamedTuple):
    """One source (a path that stands alone, or a thermal and an rgb path) with its result; everything in it can be pickled."""

    inputs: tuple[Path, ...]
    out: Path
    options: FuseOptions

    @property
    def name(self) -> str:
        """For people."""
        return " + ".join(path.name or str(path) for path in self.inputs)


def plan(paths: list[Path], out: Path, options: FuseOptions) -> list[Unit]:
    """The units of work: one for a thermal and an rgb path, or one for each bag, side-by-side video or folder of pairs.

    A folder in which bags lie, at any depth, stands for all of them. One unit's result is ``out`` itself; that of several
    lies in the folder ``out`` under the source's name. Raises SourceError where the paths do not fit together.
    """
    for path in paths:
        if not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    alone = [_stands_alone(path, options) for path in paths]
    if len(paths) == 2 and not any(alone):
        return [Unit((paths[0], paths[1]), out, options)]
    if len(paths) == 1 and not _bags_below(paths[0]):
        return [Unit((paths[0],), out, options)]
    named = [item for path in paths for item in _named(path)]
    for path in (path for path, single in zip(paths, alone, strict=True) if not single and not _bags_below(path)):
        raise SourceError(
            f"'{path}' does not stand alone, and {len(paths)} sources are given: give a thermal and an rgb path, or any number of "
            "bags, of folders that hold thermal/ and rgb/, or (with --thermal-side) of side-by-side videos"
        )
    if len(paths) == 1 and len(named) == 1 and named[0][0] == paths[0]:
        return [Unit((paths[0],), out, options)]
    _check_folder(out, paths)
    names = _unique(named)
    return [Unit((path,), out / _with_suffix(path, name, options), options) for (path, _), name in zip(named, names, strict=True)]


def is_pair_folder(path: Path) -> bool:
    """Whether the folder holds the folders thermal and rgb."""
    return (path / "thermal").is_dir() and (path / "rgb").is_dir()


def open_unit(unit: Unit, config: "Config") -> "tuple[Source, Sink]":
    """The unit's source and sink; nothing is written yet. Raises SourceError for what is missing or in the way."""
    from aenet_ros.io.background import file_threads
    from aenet_ros.io.sinks import open_sink
    from aenet_ros.io.sources import open_source

    options, out = unit.options, unit.out
    source: Source
    if len(unit.inputs) == 1 and is_bag(unit.inputs[0]):
        from aenet_ros.io.bag_sink import BagSink
        from aenet_ros.io.bag_source import BagSource

        depth = options.depth_topic if config.registration.mode == "depth" else None
        source = bag = BagSource(
            unit.inputs[0], config.sync, options.thermal_topic, options.rgb_topic, depth, config.registration.depth_slop_ms
        )
        if options.to in ("", "bag") and out.suffix.lower() not in VIDEO_SUFFIXES:
            if options.panels != ("fused",) or options.labels:
                raise SourceError("--panels and --labels are for videos and pictures, and a bag is written: give --to video or pictures")
            return source, BagSink(out, bag, keep=options.keep, scaled=config.output.grid == "size", force=options.force)
    else:
        thermal, rgb = unit.inputs if len(unit.inputs) == 2 else (unit.inputs[0], None)
        if rgb is None and is_pair_folder(thermal):
            thermal, rgb = thermal / "thermal", thermal / "rgb"
        side = options.thermal_side or "left"
        source = open_source(
            thermal,
            rgb,
            config.sync,
            in_order=options.in_order,
            sequence_hz=options.sequence_hz,
            thermal_side=side,
            depth=options.depth,
            threads=file_threads(),
        )
    if options.to == "bag":
        raise SourceError(f"--to bag: only a bag becomes a bag, and {unit.name} is none; leave --to away")
    if options.to == "video" and out.suffix.lower() not in VIDEO_SUFFIXES:
        raise SourceError(f"--to video: '{out}' is no video's name; give one that ends in .mp4")
    return source, open_sink(out, source, force=options.force, resume=options.resume, suffix=options.suffix)


def _stands_alone(path: Path, options: FuseOptions) -> bool:
    return is_bag(path) or is_pair_folder(path) or (bool(options.thermal_side) and path.suffix.lower() in VIDEO_SUFFIXES)


def _bags_below(path: Path) -> list[Path]:
    """The bags in a folder that is none itself, and in the folders in it."""
    if not path.is_dir() or is_bag(path) or is_pair_folder(path):
        return []
    found = []
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith("."):
            found += [entry] if is_bag(entry) else _bags_below(entry)
    return found


def _named(path: Path) -> list[tuple[Path, Path]]:
    """(source, its result's name without suffix); those of a folder keep their place in it."""
    below = _bags_below(path)
    return [(item, _stem(item.relative_to(path))) for item in below] or [(path, Path(_stem(path).name))]


def _stem(path: Path) -> Path:
    while path.suffix in (*BAG_SUFFIXES, *VIDEO_SUFFIXES):
        path = path.with_suffix("")
    return path


def _unique(named: list[tuple[Path, Path]]) -> list[Path]:
    """The names; those that two sources share get their folder's name before them."""
    often = Counter(name for _, name in named)
    names = [name if often[name] == 1 else name.with_name(f"{path.resolve().parent.name}_{name.name}") for path, name in named]
    for name, count in Counter(names).items():
        if count > 1:
            both = [str(path) for (path, _), given in zip(named, names, strict=True) if given == name]
            raise SourceError(f"{' and '.join(both[:2])} would both be written to '{name}'; fuse them one by one")
    return names


def _with_suffix(path: Path, name: Path, options: FuseOptions) -> Path:
    video = options.to == "video" or (not options.to and path.suffix.lower() in VIDEO_SUFFIXES)
    return name.with_name(f"{name.name}.mp4") if video else name


def _check_folder(out: Path, paths: list[Path]) -> None:
    if out.suffix.lower() in (*VIDEO_SUFFIXES, *BAG_SUFFIXES) or out.is_file():
        raise SourceError(f"'{out}' is a file's name; the results of several sources need a folder: give another -o")
    for path in paths:
        if path.is_dir() and (out.resolve() == path.resolve() or path.resolve() in out.resolve().parents):
            raise SourceError(f"'{out}' lies in '{path}', which is read, and would be taken for a source the next time; give another -o")
