"""Fuses one source into its result, with a pipeline of its own: the piece of work that runs here, in another process, or on a cluster."""

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aenet_ros.config import Config, build, flatten
from aenet_ros.core.errors import AenetError, ImageError, SourceError
from aenet_ros.core.process import MAX_AUTO_THREADS, allowed_cores, delay_signals
from aenet_ros.io.plan import Unit, open_unit
from aenet_ros.io.sources import Done, Lost, is_bag
from aenet_ros.io.staging import IN_FOLDER

MOST_REASONS = 3
Tell = Callable[[Any], None]
"""Takes news: ("opened", number of pairs, remarks), then ("pair",) for each."""


def fuse_unit(unit: Unit, config: Config, tell: Tell = lambda news: None, threads: int = 0) -> dict[str, Any]:
    """Fuse a source; the report has ``out``, ``fused``, ``kept``, ``lost``, ``remarks``, ``seconds``, ``pairs_per_s`` and ``device``.

    The result depends on nothing but the unit and the configuration. ``threads``: of the CPU, where the configuration leaves their
    number open; 0: as many as the node would take. Raises AenetError where it cannot be done at all.
    """
    if unit.options.resume and _finished(unit):
        tell(("opened", 0, []))
        return _report(unit, 0, 1, [], ["its result is there already and is kept (--resume)"], 0.0, "")
    source, sink = open_unit(unit, config)
    if not source.timed:
        # Unrelated pictures: nothing is learnt from one for the next.
        config = build({"agc.smoothing_s": 0.0, "sensor.dead_pixels": "off", "sensor.column_noise": "off"}, config)
    tell(("opened", source.total, list(source.remarks)))

    from aenet_ros.io.panels import Panels
    from aenet_ros.pipeline import FusionPipeline  # takes seconds, so only when everything else is in order

    lost: list[Lost] = []
    fused = kept = without_depth = 0
    no_depth, read_all, shown = "", False, len(source.remarks)
    last_ns = 0
    begin = time.monotonic()
    pipeline = FusionPipeline(build({"model.threads": config.model.threads or threads}, config))
    for role, camera in source.intrinsics.items():
        pipeline.registration.set_intrinsics(role, camera)
    panels = Panels(unit.options.panels, unit.options.labels, pipeline)
    try:
        sink.remember({"inputs": [str(path.resolve()) for path in unit.inputs], **_settings(unit), **flatten(config)})
        with sink:
            source.done = sink.done
            for item in source:
                tell(("pair",))
                if isinstance(item, Lost):
                    lost.append(item)
                    continue
                if isinstance(item, Done):
                    kept += 1
                    continue
                stamp_ns = item.pair.rgb.stamp_ns
                if not source.timed or stamp_ns < last_ns:  # an unrelated picture, or a bag that starts over
                    pipeline.reset_temporal()
                last_ns = stamp_ns
                with delay_signals():  # a pair that is begun is written
                    try:
                        if item.name in sink.done:
                            panels.follow(item.pair)
                            kept += 1
                        else:
                            sink.write(item.name, panels.process(item.pair))
                            fused += 1
                            if pipeline.grid.fallback:
                                without_depth, no_depth = without_depth + 1, pipeline.grid.fallback
                    except ImageError as error:
                        lost.append(Lost(item.name, str(error)))
            read_all = True
    except SourceError as error:
        if read_all and not (fused or kept):  # the sink has nothing to keep; what was left out, and why, says more
            reasons = dict.fromkeys([*source.remarks[shown:], *(entry.reason for entry in lost)])
            raise SourceError("; ".join([str(error), *list(reasons)[:MOST_REASONS]])) from error
        raise
    finally:
        pipeline.close()
    if without_depth:
        source.remarks.append(f"{without_depth} pairs were laid by the plane: {no_depth}")
    return _report(unit, fused, kept, lost, source.remarks, time.monotonic() - begin, str(pipeline.fuser.device))


def attempt_unit(task: tuple[Unit, Config, int], tell: Tell) -> dict[str, Any]:
    """``fuse_unit`` for a worker process, with ``task``'s share of the cores: what went wrong comes back as ``error``, in words."""
    unit, config, threads = task
    try:
        return fuse_unit(unit, config, tell, threads)
    except AenetError as error:
        return failed(unit, str(error), traceback.format_exc())
    except Exception as error:  # a fault of ours or of a library's must not end the other sources' work
        return failed(unit, f"{type(error).__name__}: {error}", traceback.format_exc())


def failed(unit: Unit, error: str, trace: str = "") -> dict[str, Any]:
    """The report of a unit that came to nothing."""
    return {**_report(unit, 0, 0, [], [], 0.0, ""), "error": error, "traceback": trace}


def share_of_cores(jobs: int) -> int:
    """Threads of the network for each of so many processes; they have as many cores again for reading and writing files."""
    return max(1, min(MAX_AUTO_THREADS, allowed_cores() // (2 * jobs)))


def _finished(unit: Unit) -> bool:
    """Whether the result is there: bags and videos appear only whole, and a folder of pictures loses its record at the end.

    Two folders of pictures may have grown since, so the sink looks at each of their files instead.
    """
    if not unit.out.is_dir():
        return unit.out.exists()
    if (unit.out / IN_FOLDER).exists() or len(unit.inputs) == 2:
        return False
    return is_bag(unit.out) or any(path.suffix == unit.options.suffix for path in unit.out.iterdir())


def _settings(unit: Unit) -> dict[str, Any]:
    options = asdict(unit.options)
    for name in ("force", "resume", "keep"):
        del options[name]
    return {f"options.{name}": str(value) for name, value in options.items()}


def _report(unit: Unit, fused: int, kept: int, lost: list[Lost], remarks: list[str], seconds: float, device: str) -> dict[str, Any]:
    return {
        "source": [str(path) for path in unit.inputs],
        "out": str(unit.out),
        "fused": fused,
        "kept": kept,
        "lost": [entry._asdict() for entry in lost],
        "seconds": round(seconds, 3),
        "pairs_per_s": round(fused / seconds, 2) if seconds else 0.0,
        "device": device,
        "remarks": remarks,
    }
