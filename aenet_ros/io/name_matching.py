"""Matches thermal and rgb picture files by what their names say; see ``pairing.pair_files``."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median, median_low

from aenet_ros.config import SyncConfig
from aenet_ros.io.picture_names import is_zoom, numbers, stamps_ns, without_camera

MOST_APART_NS = 1_000_000_000  # of stamps in names, unless sync.slop_ms is more: pictures taken later show another scene
NEAREST_SHARE = 0.6  # of the faster camera's frame period: half of it, and room for jitter
SAME_NUMBERS_SHARE = 0.9  # of the smaller folder's files, to pair by numbers alone: two cameras that count by themselves agree by chance

Files = list[tuple[Path, Path]]
"""(thermal, rgb) of each pair."""


def match_files(thermals: Sequence[Path], rgbs: Sequence[Path], sync: SyncConfig) -> tuple[Files, str]:
    """The pairs, in order of the thermal files, and how they were found, for messages; no pairs if there are none.

    The files of each camera are sorted and their names are unique. The first way to pair that leaves no file of the smaller folder alone
    is taken, else the one that pairs most files.
    """
    most = min(len(thermals), len(rgbs))
    pairs, how = _same_keys(thermals, rgbs, stems(thermals), stems(rgbs)), "by name"
    if len(pairs) < most:
        found = _same_keys(thermals, rgbs, *([without_camera(path.stem) for path in paths] for paths in (thermals, rgbs)))
        if len(found) > len(pairs):
            pairs, how = found, "by name without the words that say the camera"
    if len(pairs) < most:
        found = _nearest_stamps(thermals, rgbs, sync)
        if len(found) > len(pairs):
            pairs, how = found, f"by the nearest stamps in the names ({_apart(found, sync)})"
    if not pairs:
        found = _same_keys(thermals, rgbs, numbers(stems(thermals)), numbers(stems(rgbs)))
        if len(found) >= SAME_NUMBERS_SHARE * most:
            pairs, how = found, "by the numbers in the names alone, since the words differ"
    return pairs, how


def order_contradiction(thermals: Sequence[Path], rgbs: Sequence[Path], sync: SyncConfig) -> str:
    """Why the names contradict pairing in order; "" if they do not.

    In order is right where each camera begins to count or to stamp at another value, and no file is missing.
    """
    if len(thermals) != len(rgbs):
        return f"there are {len(thermals)} thermal and {len(rgbs)} rgb pictures, and it needs equal numbers"
    ordered = list(zip(thermals, rgbs, strict=True))
    found, how = match_files(thermals, rgbs, sync)
    partners = dict(found)
    for thermal, rgb in ordered if found else []:
        if partners.get(thermal) != rgb:
            right = f"belongs to {partners[thermal].name}" if thermal in partners else "has no partner"
            return f"{thermal.name} would be paired with {rgb.name}, but {how} it {right}"
    if found:
        return ""
    both_stamped = all(None not in stamps_ns(stems(paths)) for paths in (thermals, rgbs))
    return _stamps_disagree(ordered, sync) if both_stamped else _numbers_disagree(ordered)


def first_stamps_apart_ns(thermals: Sequence[Path], rgbs: Sequence[Path]) -> int | None:
    """First thermal stamp minus first rgb stamp; None where either camera's names have none."""
    of_thermal, of_rgb = _by_stamp(thermals), _by_stamp(rgbs)
    return min(of_thermal) - min(of_rgb) if of_thermal and of_rgb else None


def is_same(first: Path, second: Path) -> bool:
    """Whether both are one file or folder."""
    try:
        return first.samefile(second)
    except OSError:  # one does not exist
        return first.resolve() == second.resolve()


def stems(paths: Iterable[Path]) -> list[str]:
    """The file names without suffix."""
    return [path.stem for path in paths]


def _same_keys(thermals: Sequence[Path], rgbs: Sequence[Path], thermal_keys: Sequence[Hashable], rgb_keys: Sequence[Hashable]) -> Files:
    """The files whose keys are equal. A key that several thermal files have is left out; of several rgb files the unzoomed one is taken."""
    thermals_of: dict[Hashable, list[Path]] = defaultdict(list)
    rgbs_of: dict[Hashable, list[Path]] = defaultdict(list)
    for of_key, paths, keys in ((thermals_of, thermals, thermal_keys), (rgbs_of, rgbs, rgb_keys)):
        for path, key in zip(paths, keys, strict=True):
            of_key[key].append(path)
    pairs = []
    single = len(thermals) == len(rgbs) == 1  # ir.png and vis.png: nothing is left of the names
    for key, of_thermal in thermals_of.items():
        of_rgb = rgbs_of.get(key, [])
        if len(of_rgb) > 1:
            of_rgb = [path for path in of_rgb if not is_zoom(path.stem)]
        if len(of_thermal) == len(of_rgb) == 1 and (key or single) and not is_same(of_thermal[0], of_rgb[0]):
            pairs.append((of_thermal[0], of_rgb[0]))
    return pairs


def _by_stamp(paths: Sequence[Path]) -> dict[int, Path]:
    """The files by the stamps in their names, without those that have none; empty if two have the same."""
    stamped = [(stamp, path) for stamp, path in zip(stamps_ns(stems(paths)), paths, strict=True) if stamp is not None]
    found = dict(sorted(stamped))
    return found if len(found) == len(stamped) else {}


def _nearest_stamps(thermals: Sequence[Path], rgbs: Sequence[Path], sync: SyncConfig) -> Files:
    """The files with the nearest stamps, ``clock_offset_ms`` taken off, within ``_bound_ns``. The nearest ones first, each file once."""
    of_thermal, of_rgb = _by_stamp(thermals), _by_stamp(rgbs)
    bound_ns, rgb_stamps = _bound_ns(list(of_thermal), list(of_rgb), sync), list(of_rgb)
    candidates = []
    for stamp in of_thermal:
        at_ns = stamp - sync.clock_offset_ns
        after = bisect_left(rgb_stamps, at_ns)
        candidates += [(abs(at_ns - near), stamp, near) for near in rgb_stamps[max(after - 1, 0) : after + 1]]
    taken: dict[int, int] = {}
    free = set(rgb_stamps)
    for apart_ns, stamp, near in sorted(candidates):
        if apart_ns <= bound_ns and stamp not in taken and near in free and not is_same(of_thermal[stamp], of_rgb[near]):
            taken[stamp] = near
            free.remove(near)
    return [(of_thermal[stamp], of_rgb[near]) for stamp, near in sorted(taken.items())]


def _bound_ns(thermal_stamps: Sequence[int], rgb_stamps: Sequence[int], sync: SyncConfig) -> int:
    """Most that two stamps of a pair are apart. Only equal ones make a pair with the policy exact."""
    if sync.policy == "exact":
        return 0
    periods = []
    for stamps in (thermal_stamps, rgb_stamps):
        if len(stamps) > 1:
            periods.append(median_low([later - earlier for earlier, later in pairwise(stamps)]))
    return max(sync.slop_ns, min(round(NEAREST_SHARE * min(periods, default=0)), MOST_APART_NS))


def _apart(pairs: Files, sync: SyncConfig) -> str:
    """How far the stamps of the pairs are apart, for messages."""
    apart_ms = [difference_ns / 1e6 for difference_ns in _differences_ns(pairs, sync)]
    return f"thermal - rgb {median(apart_ms):+.1f} ms in the median, {max(map(abs, apart_ms)):.1f} ms at most"


def _differences_ns(pairs: Files, sync: SyncConfig) -> list[int]:
    """Thermal stamp, less the clock offset, minus rgb stamp of pairs whose names all have stamps."""
    thermal_ns, rgb_ns = (stamps_ns(stems(paths)) for paths in zip(*pairs, strict=True))
    return [(first or 0) - sync.clock_offset_ns - (second or 0) for first, second in zip(thermal_ns, rgb_ns, strict=True)]


def _stamps_disagree(ordered: Files, sync: SyncConfig) -> str:
    apart_ns = _differences_ns(ordered, sync)
    thermals, rgbs = zip(*ordered, strict=True)
    bound_ns = _bound_ns(list(_by_stamp(thermals)), list(_by_stamp(rgbs)), sync)
    usual_ns = median_low(apart_ns)
    for (thermal, rgb), found_ns in zip(ordered, apart_ns, strict=True):
        if abs(found_ns - usual_ns) > bound_ns:
            others = f"while most pairs are {usual_ns / 1e9:+.3f} s apart"
            return f"{thermal.name} would be paired with {rgb.name}, whose stamps are {found_ns / 1e9:+.3f} s apart, {others}"
    return ""


def _numbers_disagree(ordered: Files) -> str:
    both = [numbers(stems(paths)) for paths in zip(*ordered, strict=True)]
    if len({len(found) for each in both for found in each}) > 1:
        both = [[found[-1:] for found in each] for each in both]
    differences = [tuple(first - second for first, second in zip(*found, strict=False)) for found in zip(*both, strict=True)]
    usual = Counter(differences).most_common(1)[0][0]
    for (thermal, rgb), difference in zip(ordered, differences, strict=True):
        if difference != usual:
            return f"{thermal.name} would be paired with {rgb.name}, and their numbers differ by another amount than those of most pairs"
    return ""
