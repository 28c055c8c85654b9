"""What `aenet fuse` writes beside the fused pictures: hot spots as a table, temperatures as TIFF pictures."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from aenet_ros.config import Config
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.files import atomic_file
from aenet_ros.core.frames import Array, Plane, ThermalSource
from aenet_ros.io.files import PICTURE_SUFFIXES, write_picture
from aenet_ros.io.fuse_job import FuseJob
from aenet_ros.io.sink import write_errors
from aenet_ros.io.source import Source
from aenet_ros.thermal.temperature import KELVIN, celsius, check_radiometric, scale_of
from aenet_ros.thermal.thermometer import Thermometer, as_json

COLUMNS = (
    *("stamp_ns", "name", "id", "kind", "unit", "value", "mean", "left", "top", "width", "height"),
    *("peak_x", "peak_y", "fused_x", "fused_y", "area_px", "age_s"),
)
PER_KELVIN = 100  # counts of 16-bit pictures
MOST_COUNTS = 65535


class ThermalFiles:
    """Takes the thermal frame of each pair. Use it with ``with``: the table is complete at the end, or absent.

    ``folder`` gets ``NAME.tiff`` for each pair, on the grid of the fused picture: float32 in degrees Celsius, NaN where there is no value;
    with 16 ``bits`` uint16 in 0.01 K from 0 K, 0 where there is no value. The table has a row for each spot and frame (csv), or an object
    for each frame (json). Raises SourceError where something is in the way, or temperatures are wanted and there are none.
    """

    def __init__(self, job: FuseJob, source: Source, config: Config) -> None:
        options = job.options
        self._table, self.folder, self._bits = options.hot_spots, options.temperature, options.temperature_bits
        self._keep = options.resume
        self._config, self._remarks = config, source.remarks
        self._thermometer = Thermometer()
        self._clipped = 0
        self._no_degrees = ""
        self._first = True  # the next frame is the first one of the table
        self._check(job, source)

    def __bool__(self) -> bool:
        return self._table is not None or self.folder is not None

    def _check(self, job: FuseJob, source: Source) -> None:
        read = {path.resolve() for path in (*source.files, *job.inputs, *filter(None, [job.options.pairs]))}
        replaces = job.options.force or job.options.resume
        if self._table is not None:
            if self._table.suffix.lower() not in (".csv", ".json"):
                raise SourceError(f"--hot-spots {self._table}: give a name that ends in .csv or .json")
            if self._table.resolve() in read:
                raise SourceError(f"'{self._table}' is one of the inputs and would be overwritten; give --hot-spots another name")
            if self._table.exists() and not replaces:
                raise SourceError(f"'{self._table}' exists already; give --force to overwrite it, --resume to go on, or another name")
        if self.folder is None:
            return
        try:
            check_radiometric(self._config.agc)
        except ImageError as error:
            raise SourceError(f"--temperature: {error}") from error
        if self.folder.is_file() or (self.folder.suffix.lower() in PICTURE_SUFFIXES and not self.folder.is_dir()):
            raise SourceError(f"--temperature {self.folder} is a file's name; give a folder, which gets a picture for each pair")
        if self.folder.resolve() in {job.out.resolve(), *(path.parent for path in read)}:
            raise SourceError(f"--temperature {self.folder} is a folder that is read, or that of the fused pictures; give another one")
        if self.folder.is_dir() and any(self.folder.glob("*.tiff")) and not replaces:
            raise SourceError(
                f"'{self.folder}' holds pictures already; give --force to overwrite them, --resume to go on, or another folder"
            )

    def skippable(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the pairs ``names`` that need not be read once more, because all is there."""
        if self._table is not None:
            return frozenset()
        return names if self.folder is None else frozenset(name for name in names if self._picture(name).exists())

    def reset_temporal(self) -> None:
        """Forget earlier frames: ids of spots start at 1 again."""
        self._thermometer.reset_temporal()

    def write(self, name: str, source: ThermalSource, registered: Array | None) -> None:
        """Measure a frame. ``registered``: its counts on the grid of the fused picture, needed for temperature pictures."""
        if self.folder is not None and registered is not None and not (self._keep and self._picture(name).exists()):
            degrees = celsius(registered, scale_of(self._config.agc))
            self._write_picture(name, degrees)
        measured = self._thermometer.measure(source, self._config) if self._table is not None else None
        if measured is None:
            return
        self._no_degrees = self._no_degrees or measured.problem
        self._write_rows({"name": name, **as_json(measured, source)})

    def _picture(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.tiff"

    def _write_picture(self, name: str, degrees: Plane) -> None:
        if self._bits == 32:
            write_picture(self._picture(name), degrees, "32FC1")
            return
        counts = np.nan_to_num(np.rint((degrees - KELVIN) * PER_KELVIN), nan=0.0)
        self._clipped += bool(counts.max() > MOST_COUNTS)
        write_picture(self._picture(name), np.clip(counts, 0, MOST_COUNTS).astype(np.uint16), "mono16")

    def _write_rows(self, frame: dict[str, Any]) -> None:
        assert self._table is not None
        with write_errors(f"'{self._table}'"):
            if self._table.suffix.lower() == ".json":
                self._file.write(("[\n" if self._first else ",\n") + json.dumps(frame, allow_nan=False))
                self._first = False
                return
            for spot in frame["spots"]:
                csv.writer(self._file, lineterminator="\n").writerow(
                    [
                        *(frame["stamp_ns"], frame["name"], spot["id"], spot["kind"], frame["unit"], spot["value"], spot["mean"]),
                        *(*spot["box"], *spot["peak"], *(spot["fused"] or ("", "")), spot["area"], spot["age_s"]),
                    ]
                )

    def __enter__(self) -> "ThermalFiles":
        with ExitStack() as stack:
            if self._table is not None:
                part = stack.enter_context(atomic_file(self._table))
                self._file: IO[str] = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
                if self._table.suffix.lower() == ".csv":
                    self._file.write(",".join(COLUMNS) + "\n")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with write_errors(f"'{self._table}'"):
            if kind is None and self._table is not None and self._table.suffix.lower() == ".json":
                self._file.write("[]\n" if self._first else "\n]\n")
            self._stack.__exit__(kind, error, trace)
        if self._no_degrees:
            self._remarks.append(f"hot spots are in grey levels: {self._no_degrees}")
        if self._clipped:
            self._remarks.append(
                f"{self._clipped} temperature pictures have pixels hotter than {MOST_COUNTS / PER_KELVIN + KELVIN:.0f} degrees Celsius, "
                "which 16 bits cannot hold: give --temperature-bits 32"
            )
