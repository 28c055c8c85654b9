"""Measures what an operator relies on: small hot targets stay visible, and degraded cameras do little harm. JSON out.

DATA is a folder with the development pairs (roadscene, m3svd_stills, varied). Everything is drawn from --seed.

Targets: hot targets of 3 to 12 pixels are pasted into clutter, the pairs are fused, and the share of the targets that is kept is counted:
retention of 0.5 or more (workbench/evaluation/trust.py). Degradations: each pair is degraded in each way and fused. VIF and Qabf of the
fused picture against the clean sources are given relative to those of the fused clean pair, and compared with those of the better single
(degraded) source. Change: mean difference in grey levels between the fused pictures of two degraded frames of a still scene.

    python benchmarks/trust.py DATA -o trust.json
    python benchmarks/trust.py DATA --quick --weights runs/aenet.safetensors
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aenet_ros.cli.common import about, remark, text_table, write_json
from aenet_ros.config import build
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.degradation import DEGRADATIONS, Planes, degrade_clip
from aenet_ros.workbench.evaluation.methods import CLASSICAL, Method, pipeline_method
from aenet_ros.workbench.evaluation.metrics import edge_measures, visual_fidelity
from aenet_ros.workbench.evaluation.pairs import Pair, dev_sets, grey_plane, read_pairs
from aenet_ros.workbench.evaluation.trust import LOST_BELOW, local_contrast
from aenet_ros.workbench.hot_targets import paste_hot_targets, ring_of

TARGETS_A_PICTURE = 6
SENSOR_NOISE = 0.5 / 255.0  # standard deviation in both planes, for the change of frames whose degradation has no noise of its own
SIZES = ((3, 4), (5, 7), (8, 12))  # pixels
CONTRASTS = ((3.0, 4.0), (4.0, 6.0), (6.0, 8.0))  # times the noise
CLUTTER = ((0.0, 1.0), (1.0, 3.0), (3.0, np.inf))  # step of thermal at the target, relative to the standard deviation of luma around it
LEAST_KEPT, LEAST_SHARE, MOST_CHANGE = 0.98, 0.8, 1.0
MEASURES = ("VIF", "Qabf", "worst VIF")

Fuse = Callable[[Array, Array], Array]
"""(thermal, luma) -> fused, each uint8 [H, W]."""


class Scene(NamedTuple):
    """A clean pair: thermal and luma, uint8 [H, W], and the seed of what is drawn for it."""

    dataset: str
    thermal: Array
    luma: Array
    seed: tuple[int, int]


class Kept(NamedTuple):
    """A pasted target in a fused picture. ``over_clutter``: its step in thermal relative to the standard deviation of luma around it."""

    method: str
    size: int
    contrast: float
    over_clutter: float
    retention: float


# Methods


def planes_method(method: Method) -> Fuse:
    """Return a method of `aenet evaluate` as a function of two planes, each pair without history."""
    return partial(_fuse, method)


def _fuse(method: Method, thermal: Array, luma: Array) -> Array:
    return grey_plane(method.fuse(Pair("", "", thermal, luma, Frame(0, thermal, "mono8"), True))).astype(np.uint8)


def unit(plane: Array) -> Plane:
    """Return an uint8 plane as float32 in 0..1."""
    return plane.astype(np.float32) / np.float32(255)


def to_8_bit(plane: Array) -> Array:
    """Return a plane in 0..1 as uint8."""
    return np.asarray(np.rint(plane * 255), np.uint8)


# Targets


def targets(scenes: Iterable[Scene], methods: Mapping[str, Fuse], draws: int) -> list[Kept]:
    """Paste targets into each scene ``draws`` times and return what each method keeps of them."""
    found = []
    for scene in scenes:
        for draw in range(draws):
            rng = np.random.default_rng((*scene.seed, draw))
            thermal, luma, pasted = paste_hot_targets(unit(scene.thermal), unit(scene.luma), rng, TARGETS_A_PICTURE)
            sources = [to_8_bit(plane) for plane in (thermal, luma)]
            fused = {name: fuse(*sources) for name, fuse in methods.items()} if pasted else {}
            for target in pasted:
                region = target.region(thermal.shape)
                ring = ring_of(region)
                of_a, of_b = (local_contrast(plane.astype(np.float64), region, ring) for plane in sources)
                step = sources[0][region].mean() - sources[0][ring].mean()
                over_clutter = float(step / (sources[1][ring].std() + 1.0))
                for name, picture in fused.items():
                    kept = min(1.0, local_contrast(picture.astype(np.float64), region, ring) / max(of_a, of_b))
                    found.append(Kept(name, target.size, target.contrast, over_clutter, kept))
    return found


def targets_table(found: Sequence[Kept], methods: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Return count, share kept and mean retention by method and group of targets."""
    groups = {"all": list(found)}
    for low, high in SIZES:
        groups[f"{low}-{high} pixels"] = [target for target in found if low <= target.size <= high]
    for least, most in CONTRASTS:
        groups[f"{least:g}-{most:g} x noise"] = [target for target in found if least <= target.contrast < most]
    for least, most in CLUTTER:
        groups[f"{least:g}-{most:g} x luma clutter"] = [target for target in found if least <= target.over_clutter < most]
    return {
        method: {group: _kept([target.retention for target in rows if target.method == method]) for group, rows in groups.items()}
        for method in methods
    }


def _kept(retentions: Sequence[float]) -> dict[str, float]:
    values = np.array(retentions)
    if not values.size:
        return {"count": 0}
    return {"count": values.size, "kept": float((values >= LOST_BELOW).mean()), "retention": float(values.mean())}


# Degradations


def degraded(scenes: Iterable[Scene], methods: Mapping[str, Fuse], names: Sequence[str]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return rows[degradation][method], one for each scene: measures relative to the fused clean pair and the sources, and the change."""
    rows: dict[str, dict[str, list[dict[str, float]]]] = {name: {method: [] for method in methods} for name in names}
    for scene in scenes:
        clean = {method: scores(fuse(scene.thermal, scene.luma), scene) for method, fuse in methods.items()}
        copies = {plane: scores(getattr(scene, plane), scene) for plane in ("thermal", "luma")}
        for number, name in enumerate(names):
            rng = np.random.default_rng((*scene.seed, number))
            frames = degrade_clip(name, [(unit(scene.thermal), unit(scene.luma))] * 2, rng)
            first = [to_8_bit(plane) for plane in frames[0]]
            changed = DEGRADATIONS[name].plane
            copy = scores(first[changed == "luma"], scene)
            copies_now = [copy, copies["thermal" if changed == "luma" else "luma"]]
            best = {measure: max(values[measure] for values in copies_now) for measure in MEASURES}
            still = [[to_8_bit(plane) for plane in frame] for frame in with_noise(name, frames, rng)]
            input_change = max_change(still)
            for method, fuse in methods.items():
                now = scores(fuse(*first), scene)
                row = {"change": difference(*(fuse(*frame) for frame in still)), "input change": input_change}
                for measure in MEASURES:
                    row[measure] = now[measure] / clean[method][measure]
                    row[f"{measure} of the better source"] = best[measure] / clean[method][measure]
                    row[f"{measure} below the changed source"] = float(now[measure] < copy[measure])
                rows[name][method].append(row)
    return rows


def scores(fused: Array, scene: Scene) -> dict[str, float]:
    """Return the measures of a picture against the clean sources."""
    f, a, b = (plane.astype(np.float64) for plane in (fused, scene.thermal, scene.luma))
    fidelity = visual_fidelity(a, f), visual_fidelity(b, f)
    return {"VIF": sum(fidelity), "Qabf": edge_measures(f, a, b)[0], "worst VIF": min(fidelity)}


def with_noise(name: str, frames: Sequence[Planes], rng: np.random.Generator) -> list[Planes]:
    """Return the frames, with a little noise of the sensors if the degradation has none of its own."""
    if DEGRADATIONS[name].temporal:
        return list(frames)
    return [(_noisy(thermal, rng), _noisy(luma, rng)) for thermal, luma in frames]


def _noisy(plane: Plane, rng: np.random.Generator) -> Plane:
    return np.clip(plane + np.float32(SENSOR_NOISE) * rng.standard_normal(plane.shape, np.float32), 0.0, 1.0)


def difference(first: Array, second: Array) -> float:
    """Return the mean absolute difference of two uint8 pictures in grey levels."""
    return float(np.abs(first.astype(np.float32) - second).mean())


def max_change(frames: Sequence[Sequence[Array]]) -> float:
    """Return the mean over pixels of the larger change of thermal and luma, in grey levels."""
    (thermal, luma), (next_thermal, next_luma) = (tuple(plane.astype(np.float32) for plane in frame) for frame in frames)
    return float(np.maximum(np.abs(next_thermal - thermal), np.abs(next_luma - luma)).mean())


def degraded_table(rows: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean of each value by degradation and method, and the lowest ratio of each measure."""
    return {name: {method: _summary(of_scenes) for method, of_scenes in of_methods.items()} for name, of_methods in rows.items()}


def _summary(of_scenes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    summary = {key: float(np.mean([row[key] for row in of_scenes])) for key in of_scenes[0]}
    for measure in MEASURES:
        ratios = np.array([row[measure] for row in of_scenes])
        summary[f"{measure} lowest"] = float(ratios.min())
        summary[f"{measure} share of {LEAST_SHARE} or more"] = float((ratios >= LEAST_SHARE).mean())
        better = np.array([row[f"{measure} of the better source"] for row in of_scenes])
        summary[f"{measure} below the better source"] = float((ratios < better).mean())
    return summary


# The command


def read_scenes(data: Path, every: int, seed: int) -> list[Scene]:
    """Return every ``every``-th development pair of an infrared and an rgb camera."""
    groups = dev_sets(data)
    pairs = [pair for group in ("infrared-visible", "varied") for dataset in groups.get(group, []) for pair in read_pairs(dataset)]
    return [
        Scene(pair.dataset, pair.thermal, grey_plane(pair.rgb).astype(np.uint8), (seed, index))
        for index, pair in list(enumerate(pairs))[::every]
    ]


def print_tables(report: Mapping[str, Any]) -> None:
    """Print the tables to stderr."""
    kept = report["targets"]
    if kept:
        counted = next(iter(kept.values()))
        rows = [
            [f"{group} ({row['count']})", *(f"{kept[method][group].get('kept', np.nan):.3f}" for method in kept)]
            for group, row in counted.items()
        ]
        remark(text_table([f"targets kept (limit {LEAST_KEPT})", *kept], rows))
    for method in report["methods"] if report["degraded"] else ():
        header = [f"{method}: mean ratio (limit {LEAST_SHARE})", *MEASURES, *(f"{name} <" for name in MEASURES), "change", "of input"]
        remark("\n" + text_table(header, [_cells(name, of_methods[method]) for name, of_methods in report["degraded"].items()]))
    if report["degraded"]:
        remark("\n<: share of pairs below the better single source. A copy of the source that is not degraded has a VIF above 1.")


def _cells(name: str, row: Mapping[str, float]) -> list[str]:
    keys = [*MEASURES, *(f"{measure} below the better source" for measure in MEASURES), "change", "input change"]
    return [name, *(f"{row[key]:.2f}" for key in keys)]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the development pairs")
    parser.add_argument("--weights", metavar="FILE", default="", help="weights of the network (default: the packaged ones)")
    names = ["aenet", *(method.name for method in CLASSICAL)]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="default: all four")
    parser.add_argument("--only", choices=("targets", "degraded"), default="", help="measure only this part")
    parser.add_argument("--degradations", nargs="+", choices=DEGRADATIONS, default=list(DEGRADATIONS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="every eighth pair")
    parser.add_argument("--draws", type=int, default=2, help="of targets for each pair (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {"model.weights": args.weights, "model.device": "cpu", "model.threads": args.threads, "output.encoding": "bgr8"}
    ours = pipeline_method("aenet", FusionPipeline(build(settings)))
    known = {method.name: planes_method(method) for method in (ours, *CLASSICAL)}
    methods = {name: known[name] for name in args.methods}
    scenes = read_scenes(args.data, 8 if args.quick else 1, args.seed)
    report: dict[str, Any] = {
        **about(),
        "weights_sha256": ours.weights,
        "seed": args.seed,
        "methods": list(methods),
        "pairs": {name: sum(scene.dataset == name for scene in scenes) for name in sorted({scene.dataset for scene in scenes})},
        "limits": {"kept": LEAST_KEPT, "share of clean": LEAST_SHARE, "change": MOST_CHANGE},
    }
    report["targets"] = {} if args.only == "degraded" else targets_table(targets(scenes, methods, args.draws), methods)
    report["degraded"] = {} if args.only == "targets" else degraded_table(degraded(scenes, methods, args.degradations))
    print_tables(report)
    write_json(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
