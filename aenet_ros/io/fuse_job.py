"""The jobs of one call of `aenet fuse`: plans them, opens the source and sink of each, and runs several in processes."""

import contextlib
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from aenet_ros.config import Config
from aenet_ros.core.errors import SourceError
from aenet_ros.io.files import BAG_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_VIDEO_SUFFIXES, is_bag
from aenet_ros.io.pairing import LIST_REMEDY, camera_folders
from aenet_ros.io.sink import Sink
from aenet_ros.io.sinks import open_sink
from aenet_ros.io.source import Source, file_threads
from aenet_ros.io.sources import open_source

Progress = Callable[[Any], None]
Work = Callable[[Any, Progress], Any]
"""A module's function: takes an item and a progress callback, returns the result. Items, progress and result are pickled."""

Pipe: TypeAlias = "Connection[Any, Any]"
_STOP_S = 20.0


@dataclass(frozen=True)
class FuseOptions:
    """How to read and to write; empty: decided by the source."""

    to: str = ""  # bag, pictures or video
    suffix: str = ".png"  # of pictures
    in_order: bool = False
    pairs: Path | None = None  # list of pairs of picture files
    sequence_hz: float = 0.0
    thermal_side: str = ""  # left or right: videos show both cameras side by side
    depth: Path | None = None  # depth picture or folder of depth pictures
    thermal_topic: str = ""
    rgb_topic: str = ""
    depth_topic: str = ""
    time: str = ""  # header or log: the times that pair a bag's frames
    keep: tuple[str, ...] = ("all",)  # topics to copy into a new bag: all, none or names
    video: bool = False  # a new bag gets H.264 in place of pictures
    panels: tuple[str, ...] = ("fused",)  # what a picture or video frame shows side by side: thermal, rgb, fused
    labels: bool = False
    hot_spots: Path | None = None  # table of hot spots: .csv or .json
    temperature: Path | None = None  # folder of temperature pictures
    temperature_bits: int = 32
    force: bool = False
    resume: bool = False


class FuseJob(NamedTuple):
    """One source (a bag, a side-by-side video or a folder of pairs; or a thermal and an rgb path) and its result. Can be pickled."""

    inputs: tuple[Path, ...]
    out: Path
    options: FuseOptions

    @property
    def name(self) -> str:
        """The source, for messages."""
        return " + ".join(path.name or str(path) for path in self.inputs)


def plan_jobs(paths: list[Path], out: Path, options: FuseOptions) -> list[FuseJob]:
    """One job for a thermal and an rgb path, or one for each bag, side-by-side video or folder of pairs.

    A folder with bags in it, at any depth, stands for all of them. One job's result is ``out`` itself; the results of several go
    into the folder ``out`` under their sources' names. Raises SourceError if the paths do not fit together.
    """
    if options.pairs is not None:
        if len(paths) not in (0, 2):
            raise SourceError(f"--pairs {options.pairs} goes with a thermal and an rgb folder, or alone; {len(paths)} paths are given")
        return [FuseJob(tuple(paths) or (options.pairs,), out, options)]
    if not paths:
        raise SourceError(f"no source is given: give a thermal and an rgb path, or a bag, or {LIST_REMEDY[5:]}")
    for path in paths:
        if not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    if len(paths) == 2 and not any(_is_complete_source(path, options) for path in paths):
        return [FuseJob((paths[0], paths[1]), out, options)]
    bags = {path: _bags_below(path) for path in paths}
    if len(paths) == 1 and not bags[paths[0]]:
        return [FuseJob((paths[0],), out, options)]
    for path in paths:
        if not bags[path] and not _is_complete_source(path, options):
            raise SourceError(
                f"'{path}' does not stand alone, and {len(paths)} sources are given: give a thermal and an rgb path, or any number of "
                "bags, of folders that hold thermal/ and rgb/, or (with --thermal-side) of side-by-side videos"
            )
    _check_folder(out, paths)
    named: list[tuple[Path, Path]] = []
    for path in paths:
        named += [(bag, _stem(bag.relative_to(path))) for bag in bags[path]] or [(path, Path(_stem(path).name))]
    jobs = []
    for (path, _), name in zip(named, _unique_names(named), strict=True):
        video = options.to == "video" or (not options.to and path.suffix.lower() in VIDEO_SUFFIXES)
        jobs.append(FuseJob((path,), out / (name.with_name(f"{name.name}.mp4") if video else name), _options_of(name, options)))
    return jobs


def open_job(job: FuseJob, config: Config) -> tuple[Source, Sink]:
    """The job's source and sink; nothing is written yet. Raises SourceError for what is missing or in the way."""
    options, out = job.options, job.out
    source = _open_source(job, config)
    source.inputs = config.input
    named_video = out.suffix.lower() in VIDEO_SUFFIXES
    if options.to == "bag" and named_video:
        raise SourceError(f"--to bag: '{out}' is a video's name; give one that ends in .mcap, or a folder's")
    if options.to == "bag" or (not (options.to or named_video) and (out.suffix.lower() in BAG_SUFFIXES or is_bag(job.inputs[0]))):
        if options.panels != ("fused",) or options.labels:
            raise SourceError("--panels and --labels are for videos and pictures, and a bag is written: give --to video or pictures")
        from aenet_ros.io.bag_sink import BagSink  # needs rosbags, which pictures do not

        return source, BagSink(out, source, config.output, keep=options.keep, video=options.video, force=options.force)
    if options.video:
        raise SourceError(f"--video is for bags, and '{out}' is none: give --to bag or a name that ends in .mcap")
    if options.to == "video" and not named_video:
        raise SourceError(f"--to video: '{out}' is no video's name; give one that ends in {', '.join(WRITTEN_VIDEO_SUFFIXES)}")
    return source, open_sink(out, source, force=options.force, resume=options.resume, suffix=options.suffix, to=options.to)


def _open_source(job: FuseJob, config: Config) -> Source:
    options, path = job.options, job.inputs[0]
    if len(job.inputs) == 1 and is_bag(path):
        from aenet_ros.io.bag_source import BagSource  # needs rosbags, which pictures do not

        depth = options.depth_topic if config.registration.mode == "depth" else None
        slop_ms = config.registration.depth_slop_ms
        return BagSource(path, config.sync, options.thermal_topic, options.rgb_topic, depth, slop_ms, options.time)
    thermal, rgb = (*job.inputs, None)[:2] if job.inputs != (options.pairs,) else (None, None)
    return open_source(
        thermal,
        rgb,
        config.sync,
        in_order=options.in_order,
        pairs=options.pairs,
        sequence_hz=options.sequence_hz,
        thermal_side=options.thermal_side or "left",
        depth=options.depth,
        threads=file_threads(),
        force=options.force or options.resume,  # a run that goes on was allowed before
    )


def _options_of(name: Path, options: FuseOptions) -> FuseOptions:
    """The options of one of several sources: its own table and folder of temperatures."""
    table, folder = options.hot_spots, options.temperature
    return replace(
        options,
        hot_spots=table and table.with_name(f"{table.stem}_{'_'.join(name.parts)}{table.suffix}"),
        temperature=folder and folder / name,
    )


def _is_complete_source(path: Path, options: FuseOptions) -> bool:
    return is_bag(path) or camera_folders(path) is not None or (bool(options.thermal_side) and path.suffix.lower() in VIDEO_SUFFIXES)


def _bags_below(path: Path) -> list[Path]:
    """The bags in a folder that is not a source itself, and in its folders."""
    if not path.is_dir() or is_bag(path) or camera_folders(path) is not None:
        return []
    found = []
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith("."):
            found += [entry] if is_bag(entry) else _bags_below(entry)
    return found


def _stem(path: Path) -> Path:
    while path.suffix.lower() in (*BAG_SUFFIXES, *VIDEO_SUFFIXES):
        path = path.with_suffix("")
    return path


def _unique_names(named: list[tuple[Path, Path]]) -> list[Path]:
    """The names of (source, name); those that two sources share get their folder's name as a prefix."""
    often = Counter(name for _, name in named)
    names = [name if often[name] == 1 else name.with_name(f"{path.resolve().parent.name}_{name.name}") for path, name in named]
    for name, count in Counter(names).items():
        if count > 1:
            both = [str(path) for (path, _), given in zip(named, names, strict=True) if given == name]
            raise SourceError(f"{' and '.join(both[:2])} would both be written to '{name}'; fuse them one by one")
    return names


def _check_folder(out: Path, paths: list[Path]) -> None:
    if out.suffix.lower() in (*VIDEO_SUFFIXES, *BAG_SUFFIXES) or out.is_file():
        raise SourceError(f"'{out}' is a file's name; the results of several sources need a folder: give another -o")
    for path in paths:
        if path.is_dir() and (out.resolve() == path.resolve() or path.resolve() in out.resolve().parents):
            raise SourceError(f"'{out}' lies in '{path}', which is read, and would be taken for a source the next time; give another -o")


class WorkerDied(Exception):
    """A process ended without a result; the text says how."""


def run_jobs(
    items: Sequence[Any], work: Work, jobs: int, on_progress: Callable[[int, Any], None], on_result: Callable[[int, Any], None]
) -> None:
    """Do ``work`` on every item in at most ``jobs`` processes; a process that dies loses only its own item.

    ``on_progress`` and ``on_result`` are called in this process with the item's index, and with what the worker reported or
    returned (WorkerDied if it was killed). An exception here (Ctrl-C) stops the workers at their next progress; they clean up first.
    """
    waiting = deque(enumerate(items))
    free: list[tuple[Pipe, BaseProcess]] = []
    busy: dict[Pipe, tuple[BaseProcess, int]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                pipe, process = free.pop() if free else _start_worker(work)
                index, item = waiting.popleft()
                busy[pipe] = process, index
                with contextlib.suppress(OSError):  # it died already; recv will tell
                    pipe.send(item)
            for pipe in cast(list[Pipe], wait(list(busy))):
                process, index = busy[pipe]
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError):
                    kind, value = "died", WorkerDied(_exit_reason(process))
                if kind == "progress":
                    on_progress(index, value)
                    continue
                del busy[pipe]
                if kind == "result":
                    free.append((pipe, process))
                on_result(index, value)
    finally:
        for process, _ in busy.values():
            process.terminate()
        free += [(pipe, process) for pipe, (process, _) in busy.items()]
        for pipe, _ in free:
            pipe.close()  # ends a worker that waits for an item
        for _, process in free:
            process.join(_STOP_S)
            process.kill()
            process.join()


def _start_worker(work: Work) -> tuple[Pipe, BaseProcess]:
    # spawn: the threads of torch and OpenCV do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pipe, child = context.Pipe()
    process = context.Process(target=_serve, args=(child, work), daemon=True)
    # Ctrl-C during the child's imports would print a traceback; the parent stops the child instead.
    # The resource tracker is started first, because its start unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    child.close()
    return pipe, process


def _exit_reason(process: BaseProcess) -> str:
    process.join(_STOP_S)
    code = process.exitcode or 0
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9; usually because memory ran out): give fewer --jobs"
    return f"its process ended with {f'signal {-code}' if code < 0 else f'status {code}'}"


def _serve(connection: Pipe, work: Work) -> None:
    """The worker process: receives items, sends progress and results, until the pipe is closed."""
    stops: list[int] = []

    def report(progress: Any) -> None:
        # Here and not in the handler: Python drops an exception that a signal raises in a weak reference's callback or in __del__.
        if stops:
            raise KeyboardInterrupt
        connection.send(("progress", progress))

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: stops.append(number))
    try:
        while True:
            connection.send(("result", work(connection.recv(), report)))
    except (EOFError, KeyboardInterrupt):
        pass
    except OSError:  # the parent was killed
        os._exit(1)
