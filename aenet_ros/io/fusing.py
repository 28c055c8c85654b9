"""Does one job of `aenet fuse`: opens its source and sink, and fuses each pair with a pipeline of its own."""

import time
import traceback
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aenet_ros.config import Config, build, flatten
from aenet_ros.core.camera import Size
from aenet_ros.core.crop import crop_camera
from aenet_ros.core.errors import ImageError, SourceError, format_error
from aenet_ros.core.frames import Array, FramePair, FusedFrame, ThermalInput, convert, render_brightness
from aenet_ros.core.process import MAX_AUTO_THREADS, allowed_cores
from aenet_ros.io.files import is_bag
from aenet_ros.io.fuse_job import FuseJob, FuseOptions, Progress, open_job
from aenet_ros.io.sink import HIDDEN_FOLDER, Sink, delay_signals
from aenet_ros.io.source import SourceItem, cropped
from aenet_ros.io.thermal_files import ThermalFiles
from aenet_ros.registration.output_grid import MOST_STRETCH, stretch_text
from aenet_ros.thermal.temperature import check_scale

if TYPE_CHECKING:
    from aenet_ros.pipeline import FusionPipeline

MOST_REASONS = 3
NO_SETTINGS = ("force", "resume", "keep", "hot_spots", "temperature")  # options that do not change the results
CAPTION_ROWS, PAPER, INK = 24, (32, 32, 32), (235, 235, 235)


def fuse_job(job: FuseJob, config: Config, progress: Progress = lambda news: None, threads: int = 0) -> dict[str, Any]:
    """Fuse a source; returns its report.

    The report has ``out``, ``fused``, ``kept``, ``lost``, ``pairing``, ``remarks``, ``seconds``, ``pairs_per_s`` and ``device``. The
    result depends only on the job and the configuration. ``progress`` gets ("opened", number of pairs, sentences), then for each
    pair ("pair",), or ("kept",) if its result exists already, and ("stopped", sentence) on what is left if it is interrupted.
    ``threads``: CPU threads if the configuration leaves them open; 0: as many as the node takes.
    Raises AenetError if the job cannot be done at all.
    """
    if job.options.resume and _is_finished(job):
        for missing in (path for path in (job.options.hot_spots, job.options.temperature) if path and not path.exists()):
            raise SourceError(f"'{job.out}' is complete, but '{missing}' is not there: give --force to make both")
        progress(("opened", 0, []))
        return {**_report(job), "kept": 1, "remarks": ["its result is there already and is kept (--resume)"]}
    source, sink = open_job(job, config)
    config = source.configured(config)
    thermal_files = ThermalFiles(job, source, config)
    progress(("opened", source.total, [*filter(None, [source.pairing]), *source.remarks]))
    options = {f"options.{name}": str(value) for name, value in asdict(job.options).items() if name not in NO_SETTINGS}
    sink.record_settings({"inputs": [str(path.resolve()) for path in job.inputs], **options, **flatten(config)})
    from aenet_ros.pipeline import FusionPipeline  # loads torch, which takes seconds: after everything else is checked

    begin, opening_remarks = time.monotonic(), len(source.remarks)
    pipeline = FusionPipeline(build({"model.threads": config.model.threads or threads}, config))
    run = _Run(pipeline, job.options, sink, thermal_files, source.timed)
    read_all = False
    try:
        for role, camera in source.intrinsics.items():
            pipeline.registration.set_intrinsics(role, crop_camera(camera, getattr(config.input, role).rectangle))
        with thermal_files, sink:
            source.skip = thermal_files.skippable(sink.existing)
            for item in cropped(source):
                kept = run.kept
                run.take(item)
                progress(("kept" if run.kept > kept else "pair",))
            read_all = True
    except KeyboardInterrupt:
        progress(("stopped", _what_stays(job, sink, run, source.total)))
        raise
    except SourceError as error:
        if read_all and not (run.fused or run.kept):  # the sink has nothing to keep; the reasons for what was left out say more
            reasons = dict.fromkeys([*source.remarks[opening_remarks:], *(entry["reason"] for entry in run.lost)])
            raise SourceError("; ".join([str(error), *list(reasons)[:MOST_REASONS]])) from error
        if run.fused or run.kept:
            raise SourceError(f"{error}; {_what_stays(job, sink, run, source.total)}") from error
        raise
    finally:
        pipeline.close()
    source.remarks += run.shapes
    if flat := pipeline.status().flat_frames:
        source.remarks.append(f"{flat} pairs keep the rgb picture: their thermal frame has no contrast (closed shutter, lens cap, fog)")
    if run.without_depth:
        source.remarks.append(f"{run.without_depth} pairs were registered by the plane: {run.no_depth}")
    seconds = time.monotonic() - begin
    return {
        **_report(job),
        "fused": run.fused,
        "kept": run.kept,
        "lost": run.lost,
        "seconds": round(seconds, 3),
        "pairs_per_s": round(run.fused / seconds, 2),
        "device": str(pipeline.fuser.device),
        "pairing": source.pairing,
        "remarks": source.remarks,
    }


def _what_stays(job: FuseJob, sink: Sink, run: "_Run", total: int) -> str:
    """A sentence on a run that did not reach its end; the sink is closed."""
    if sink.complete is not None:
        return f"{sink.complete} of {total} pairs are complete and stay; the same command with --resume goes on"
    return (
        f"{run.fused} of {total} pairs were fused; '{job.out.name}' is written as a whole, so nothing is kept and the next run starts again"
    )


class _Run:
    """Fuses a source's items into a sink, and counts what became of them."""

    def __init__(self, pipeline: "FusionPipeline", options: FuseOptions, sink: Sink, thermal_files: ThermalFiles, timed: bool) -> None:
        self._pipeline, self._options, self._sink, self._timed = pipeline, options, sink, timed
        self._thermal_files = thermal_files
        self._last_ns = 0
        self._sizes: tuple[Size, Size] | None = None
        self.shapes: list[str] = []  # sentences on frames that are stretched
        self.fused = self.kept = self.without_depth = 0
        self.no_depth = ""
        self.lost: list[dict[str, str]] = []

    def take(self, item: SourceItem) -> None:
        """Fuse the pair and write the result. A stop signal waits for that."""
        if item.error:
            self.lost.append({"name": item.name, "reason": item.error})
        elif item.pair is None:
            self.kept += 1
        else:
            with delay_signals():
                try:
                    self._take_pair(item.name, item.pair)
                except ImageError as error:
                    self.lost.append({"name": item.name, "reason": str(error)})

    def _take_pair(self, name: str, pair: FramePair) -> None:
        self._check(pair)
        if not self._timed or pair.rgb.stamp_ns < self._last_ns:  # unrelated pictures, or a bag that starts over
            self._pipeline.reset_temporal()
            self._thermal_files.reset_temporal()
        self._last_ns = pair.rgb.stamp_ns
        if name in self._sink.existing:  # the pipeline follows it, so that the next results do not depend on --resume
            source = self._pipeline.thermal_source(pair.thermal)
            if self._thermal_files:
                warps = self._pipeline.prepare_grid(source.frame.size, pair.rgb.size, depth=pair.depth, invalid=source.frame.invalid)
                source = replace(source, size=warps.size, maps=warps.maps)
                self._thermal_files.write(name, source, warps.counts(source.frame.data))
            self._pipeline.update_sensor_model()
            self.kept += 1
            return
        self._sink.take(pair)
        fused = self._pipeline.process(pair, want_registered="thermal" in self._options.panels or self._thermal_files.folder is not None)
        self._sink.write(name, _composed(pair, fused, self._options, self._pipeline))
        if self._thermal_files and fused.thermal is not None:
            self._thermal_files.write(name, fused.thermal, fused.thermal_registered)
        self.fused += 1
        if self._pipeline.registration_fallback:
            self.without_depth, self.no_depth = self.without_depth + 1, self._pipeline.registration_fallback

    def _check(self, pair: FramePair) -> None:
        """Raise ImageError where the frames' shapes or values do not fit the configuration; remark on shapes that fit badly."""
        config, sizes = self._pipeline.config, (pair.thermal.size, pair.rgb.size)
        if config.registration.mode == "identity" and sizes != self._sizes:
            if (text := stretch_text(*sizes, MOST_STRETCH)) and not (self._options.force or self._options.resume):
                raise ImageError(f"{text}; --force stretches it")
            self._sizes = sizes
            if (text := stretch_text(*sizes)) and text not in self.shapes:
                self.shapes.append(text)
        if self._thermal_files.folder is not None or config.output.banded or (config.agc.mode == "fixed" and config.agc.unit == "celsius"):
            check_scale(pair.thermal.data, config.agc)


def _composed(pair: FramePair, fused: FusedFrame, options: FuseOptions, pipeline: "FusionPipeline") -> FusedFrame:
    """The frame to write: with panels or labels its image holds them, rgb8."""
    if options.panels == ("fused",) and not options.labels:
        return fused
    panels = [_panel(name, pair, fused, pipeline) for name in options.panels]
    if options.labels:
        panels = [_labelled(panel, name) for panel, name in zip(panels, options.panels, strict=True)]
    return replace(fused, image=np.ascontiguousarray(np.hstack(panels)), encoding="rgb8", thermal_registered=None)


def _panel(name: str, pair: FramePair, fused: FusedFrame, pipeline: "FusionPipeline") -> Array:
    """uint8 [H, W, 3], red first. ``thermal``: on the fused grid, with the brightness that fusion uses; black outside its view."""
    if name == "fused":
        return convert(fused.image, fused.encoding, "rgb8")
    if name == "rgb":
        warps = pipeline.prepare_grid(pair.thermal.size, pair.rgb.size, depth=pair.depth)
        return warps.rgb(convert(pair.rgb.data, pair.rgb.encoding, "rgb8"), np.zeros(pair.thermal.size, np.float32))
    assert fused.thermal_registered is not None
    brightness = render_brightness(ThermalInput(fused.thermal_registered, *pipeline.status().agc_gain))
    return convert(np.round(brightness * 255.0).astype(np.uint8), "mono8", "rgb8")


def _labelled(image: Array, text: str) -> Array:
    strip = np.full((CAPTION_ROWS, image.shape[1], 3), PAPER, np.uint8)
    cv2.putText(strip, text, (6, CAPTION_ROWS - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([strip, image])


def try_fuse_job(task: tuple[FuseJob, Config, int], progress: Progress) -> dict[str, Any]:
    """``fuse_job`` for a worker process; ``task`` is (job, configuration, threads). An error is returned in the report as ``error``."""
    job, config, threads = task
    try:
        return fuse_job(job, config, progress, threads)
    except Exception as error:  # a bug here or in a library must not end the other sources' work
        return failed_report(job, format_error(error), traceback.format_exc())


def failed_report(job: FuseJob, error: str, trace: str = "") -> dict[str, Any]:
    """The report of a job without a result."""
    return {**_report(job), "error": error, "traceback": trace}


def threads_per_job(jobs: int) -> int:
    """Threads of the network in each of ``jobs`` processes; as many cores again are left to it for reading and writing files."""
    return max(1, min(MAX_AUTO_THREADS, allowed_cores() // (2 * jobs)))


def _is_finished(job: FuseJob) -> bool:
    """Whether the result is complete: a bag or video exists only then, and a folder of pictures loses its hidden folder.

    Folders and lists of pictures may have grown since, so the sink checks each of their files instead.
    """
    if not job.out.is_dir():
        return job.out.exists()
    of_pictures = len(job.inputs) == 2 or job.options.pairs is not None or (job.inputs[0].is_dir() and not is_bag(job.inputs[0]))
    if (job.out / HIDDEN_FOLDER).exists() or of_pictures:
        return False
    return is_bag(job.out) or any(path.suffix == job.options.suffix for path in job.out.iterdir())


def _report(job: FuseJob) -> dict[str, Any]:
    """The report of a job that has not begun."""
    return {
        "source": [str(path) for path in job.inputs],
        "out": str(job.out),
        "fused": 0,
        "kept": 0,
        "lost": [],
        "seconds": 0.0,
        "pairs_per_s": 0.0,
        "device": "",
        "pairing": "",
        "remarks": [],
    }
