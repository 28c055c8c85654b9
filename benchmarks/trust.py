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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aenet_ros.cli.common import about, remark, text_table, write_json
from aenet_ros.config import build
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.degradation import DEGRADATIONS, degrade_clip
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
MEASURES = ("VIF", "Qabf", "worst VIF")

Table = dict[str, dict[str, dict[str, float]]]


class Scene(NamedTuple):
    """A clean pair: thermal and luma, uint8 [H, W], and the seed of what is drawn for it."""

    dataset: str
    thermal: Array
    luma: Array
    seed: tuple[int, int]


def fused_plane(method: Method, thermal: Array, luma: Array) -> Array:
    """Fuse two planes, uint8 [H, W], without history; the result is of the same form."""
    return grey_plane(method.fuse(Pair("", "", thermal, luma, Frame(0, thermal, "mono8"), True))).astype(np.uint8)


def unit(plane: Array) -> Plane:
    """Return an uint8 plane as float32 in 0..1."""
    return plane.astype(np.float32) / np.float32(255)


def to_8_bit(planes: Iterable[Plane]) -> list[Array]:
    """Return planes in 0..1 as uint8."""
    return [np.asarray(np.rint(plane * 255), np.uint8) for plane in planes]


def targets(scenes: Iterable[Scene], methods: Sequence[Method], draws: int) -> Table:
    """Paste targets into each scene ``draws`` times; return count, share kept and mean retention by method and group of targets."""
    found = []  # of each target: size, contrast, step over the clutter, and the retention of each method
    for scene in scenes:
        for draw in range(draws):
            rng = np.random.default_rng((*scene.seed, draw))
            thermal, luma, pasted = paste_hot_targets(unit(scene.thermal), unit(scene.luma), rng, TARGETS_A_PICTURE)
            sources = to_8_bit((thermal, luma))
            fused = [fused_plane(method, *sources).astype(np.float64) for method in methods] if pasted else []
            for target in pasted:
                region = target.region(thermal.shape)
                ring = ring_of(region)
                best = max(local_contrast(plane.astype(np.float64), region, ring) for plane in sources)
                step = float((sources[0][region].mean() - sources[0][ring].mean()) / (sources[1][ring].std() + 1.0))
                kept = [min(1.0, local_contrast(picture, region, ring) / best) for picture in fused]
                found.append((target.size, target.contrast, step, *kept))
    values = np.array(found).reshape(-1, 3 + len(methods))
    size, contrast, step = values[:, :3].T
    groups = {"all": size > 0}
    groups |= {f"{low}-{high} pixels": (low <= size) & (size <= high) for low, high in SIZES}
    groups |= {f"{low:g}-{high:g} x noise": (low <= contrast) & (contrast < high) for low, high in CONTRASTS}
    groups |= {f"{low:g}-{high:g} x luma clutter": (low <= step) & (step < high) for low, high in CLUTTER}
    return {
        method.name: {group: _kept(values[chosen, 3 + column]) for group, chosen in groups.items()} for column, method in enumerate(methods)
    }


def _kept(values: Array) -> dict[str, float]:
    if not values.size:
        return {"count": 0}
    return {"count": values.size, "kept": float((values >= LOST_BELOW).mean()), "retention": float(values.mean())}


def degraded(scenes: Iterable[Scene], methods: Sequence[Method], names: Iterable[str]) -> Table:
    """Return means over the scenes by degradation and method: measures relative to the fused clean pair, and the change.

    "... below the better source": share of the scenes where a copy of one degraded source has more.
    """
    rows: dict[tuple[str, str], list[dict[str, float]]] = {(name, method.name): [] for name in names for method in methods}
    for scene in scenes:
        clean = {method.name: scores(fused_plane(method, scene.thermal, scene.luma), scene) for method in methods}
        for number, name in enumerate(names):
            rng = np.random.default_rng((*scene.seed, number))
            frames = degrade_clip(name, [(unit(scene.thermal), unit(scene.luma))] * 2, rng)
            first = to_8_bit(frames[0])
            copies = [scores(plane, scene) for plane in first]
            if not DEGRADATIONS[name].temporal:
                frames = [(_noisy(thermal, rng), _noisy(luma, rng)) for thermal, luma in frames]
            still = [to_8_bit(frame) for frame in frames]
            of_input = np.maximum(*(_change(*planes) for planes in zip(*still, strict=True)))
            for method in methods:
                now = scores(fused_plane(method, *first), scene)
                change = _change(*(fused_plane(method, *frame) for frame in still))
                row = {"change": float(change.mean()), "input change": float(of_input.mean())}
                for measure in MEASURES:
                    row[measure] = now[measure] / clean[method.name][measure]
                    row[f"{measure} below the better source"] = float(now[measure] < max(copy[measure] for copy in copies))
                rows[name, method.name].append(row)
    table: Table = {name: {} for name in names}
    for (name, method_name), of_scenes in rows.items():
        table[name][method_name] = {key: float(np.mean([row[key] for row in of_scenes])) for key in of_scenes[0]}
    return table


def scores(fused: Array, scene: Scene) -> dict[str, float]:
    """Return the measures of a picture against the clean sources."""
    f, a, b = (plane.astype(np.float64) for plane in (fused, scene.thermal, scene.luma))
    fidelity = visual_fidelity(a, f), visual_fidelity(b, f)
    return {"VIF": sum(fidelity), "Qabf": edge_measures(f, a, b)[0], "worst VIF": min(fidelity)}


def _noisy(plane: Plane, rng: np.random.Generator) -> Plane:
    return np.clip(plane + np.float32(SENSOR_NOISE) * rng.standard_normal(plane.shape, np.float32), 0.0, 1.0)


def _change(first: Array, second: Array) -> Plane:
    return np.abs(first.astype(np.float32) - second)


def read_scenes(data: Path, every: int, seed: int) -> list[Scene]:
    """Return every ``every``-th development pair of an infrared and an rgb camera."""
    groups = dev_sets(data)
    pairs = [pair for group in ("infrared-visible", "varied") for dataset in groups.get(group, []) for pair in read_pairs(dataset)]
    return [
        Scene(pair.dataset, pair.thermal, grey_plane(pair.rgb).astype(np.uint8), (seed, index))
        for index, pair in list(enumerate(pairs))[::every]
    ]


def print_tables(kept: Table, harm: Table) -> None:
    """Print the tables to stderr."""
    groups = next(iter(kept.values()))
    rows = [
        [f"{group} ({row['count']})", *(f"{kept[name][group].get('kept', np.nan):.3f}" for name in kept)] for group, row in groups.items()
    ]
    remark(text_table(["targets kept", *kept], rows))
    keys = [*MEASURES, *(f"{measure} below the better source" for measure in MEASURES), "change", "input change"]
    for method in kept:
        header = [f"{method}: mean ratio", *MEASURES, *(f"{name} <" for name in MEASURES), "change", "of input"]
        remark("\n" + text_table(header, [[name, *(f"{row[method][key]:.2f}" for key in keys)] for name, row in harm.items()]))
    remark("\n<: share of pairs below the better single source. A copy of the source that is not degraded has a VIF above 1.")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the development pairs")
    parser.add_argument("--weights", metavar="FILE", default="", help="weights of the network (default: the packaged ones)")
    parser.add_argument("--quick", action="store_true", help="every eighth pair")
    parser.add_argument("--draws", type=int, default=2, help="of targets for each pair (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {"model.weights": args.weights, "model.device": "cpu", "model.threads": args.threads, "output.encoding": "bgr8"}
    ours = pipeline_method("aenet", FusionPipeline(build(settings)))
    methods = [ours, *CLASSICAL]
    scenes = read_scenes(args.data, 8 if args.quick else 1, args.seed)
    report: dict[str, Any] = {
        **about(),
        "weights_sha256": ours.weights,
        "seed": args.seed,
        "pairs": {name: sum(scene.dataset == name for scene in scenes) for name in sorted({scene.dataset for scene in scenes})},
        "targets": targets(scenes, methods, args.draws),
        "degraded": degraded(scenes, methods, tuple(DEGRADATIONS)),
    }
    print_tables(report["targets"], report["degraded"])
    write_json(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
