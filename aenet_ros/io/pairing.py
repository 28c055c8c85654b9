"""Which thermal picture file belongs to which rgb picture file: by their names, by stamps in the names, in order, or by a list.

``pair_files`` is the only way in; fuse, evaluate, calibrate and train use it.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.io.files import PICTURE_SUFFIXES, first_names
from aenet_ros.io.name_matching import Files, first_stamps_apart_ns, is_same, match_files, order_contradiction, stems
from aenet_ros.io.picture_names import cameras, named_camera, natural_order, stamps_ns

LIST_REMEDY = "give --pairs FILE.csv, with a thermal and an rgb file in each line"


class FilePairs(NamedTuple):
    """``files``: (thermal, rgb) of each pair. ``shown``: how they are paired, and the first ones. ``remarks``: what has no partner."""

    files: Files
    shown: str
    remarks: list[str]


def pair_files(
    thermal: Path | None, rgb: Path | None, sync: SyncConfig | None = None, *, in_order: bool = False, pairs: Path | None = None
) -> FilePairs:
    """Pair the picture files of two folders, or of one folder that is given for both and whose names say the camera.

    Names are equal, or equal without the words that say the camera (_T, _ir, rgb_), or have stamps (the nearest, each file once, at most
    ``NEAREST_SHARE`` of a frame period or ``sync.slop_ms`` apart, ``sync.clock_offset_ms`` taken off), or the same numbers.
    ``in_order``: both folders' files in their order. ``pairs``: a list of pairs, see ``read_list``; folders may then be None.
    Raises SourceError for no pair, and where names contradict ``in_order``.
    """
    sync = sync or SyncConfig()
    if pairs is not None:
        if in_order:
            raise SourceError("--in-order and --pairs are two ways to pair files; give one of them")
        files = read_list(pairs, thermal, rgb)
        return FilePairs(files, _shown(files, f"as listed in {pairs}"), [])
    if thermal is None or rgb is None:
        raise SourceError(f"give a thermal and an rgb folder, or {LIST_REMEDY[5:]}")
    thermals, rgbs, unclear = _files_by_camera(thermal, rgb)
    if in_order:
        if contradiction := order_contradiction(thermals, rgbs, sync):
            raise SourceError(f"--in-order: {contradiction}; leave --in-order out to pair by name, or {LIST_REMEDY}")
        files, how = list(zip(thermals, rgbs, strict=True)), "in their order"
    else:
        files, how = match_files(thermals, rgbs, sync)
    if not files:
        raise SourceError(_no_pair(thermal, rgb, thermals, rgbs, sync))
    remarks = []
    paired = {path for pair in files for path in pair}
    for role, other, paths in (("thermal", "rgb", thermals), ("rgb", "thermal", rgbs)):
        alone = [path.stem for path in paths if path not in paired]
        if alone:
            remarks.append(f"{len(alone)} of {len(paths)} {role} files left out, no {other} file belongs to them: {first_names(alone)}")
    if unclear:
        names = first_names(stems(unclear))
        remarks.append(f"{len(unclear)} files left out, their names do not say which camera took them: {names}")
    return FilePairs(files, _shown(files, how), remarks)


def camera_folders(path: Path) -> tuple[Path, Path] | None:
    """The thermal and the rgb folder in a folder, by their names (thermal and rgb, lwir and visible); None if there is not one of each."""
    if (path / "thermal").is_dir() and (path / "rgb").is_dir():
        return path / "thermal", path / "rgb"
    found: dict[str, list[Path]] = defaultdict(list)
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        if _holds_pictures(entry):
            found[named_camera([entry.name])].append(entry)
    return (found["thermal"][0], found["rgb"][0]) if len(found["thermal"]) == len(found["rgb"]) == 1 else None


def pictures_in(folder: Path) -> list[Path]:
    """The folder's picture files: by their stamps, if all names have one, else frame2 before frame10. Raises SourceError for none."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    paths = [path for path in entries if _is_picture(path)]
    if not paths:
        folders = [path.name for path in entries if path.is_dir()]
        inside = f"; it holds the folders {first_names(folders)}: give a thermal and an rgb folder" if folders else ""
        raise SourceError(f"the folder {folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)}){inside}")
    paths.sort(key=lambda path: natural_order(path.name))
    stamps = [stamp for stamp in stamps_ns(stems(paths)) if stamp is not None]
    if len(set(stamps)) == len(paths):
        paths = [paths[index] for index in sorted(range(len(paths)), key=stamps.__getitem__)]
    return paths


def read_list(path: Path, thermal: Path | None = None, rgb: Path | None = None) -> Files:
    """The pairs of a list: a text file with a thermal and an rgb file in each line, separated by comma, semicolon or tab.

    The first line may name the columns (thermal, rgb). Relative names are looked for in the folders, then beside the list; lines that
    begin with # are skipped. Raises SourceError for an incomplete line, one picture as both, an rgb name that comes twice, or no file
    that exists.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--pairs {path}: {getattr(error, 'strerror', None) or 'not a text file in UTF-8'}") from error
    text = [line if line.strip() and not line.lstrip().startswith("#") else "" for line in lines]
    separator = max(",;\t", key="".join(text[:20]).count)
    columns = [0, 1]
    files: Files = []
    lines_of: dict[str, int] = {}
    for number, row in enumerate(csv.reader(text, delimiter=separator, skipinitialspace=True), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        names = [cell.casefold() for cell in cells]
        if not files and "thermal" in names and "rgb" in names:
            columns = [names.index("thermal"), names.index("rgb")]
            continue
        if len(cells) <= max(columns) or not all(cells[column] for column in columns):
            raise SourceError(f"--pairs {path}, line {number}: '{lines[number - 1]}' is no pair; give a thermal and an rgb file")
        pair = tuple(_listed(cells[column], folder, path) for column, folder in zip(columns, (thermal, rgb), strict=True))
        if is_same(*pair):
            raise SourceError(f"--pairs {path}, line {number}: '{pair[0]}' is given as thermal and as rgb picture; give two files")
        before = lines_of.setdefault(pair[1].stem, number)
        if before != number:
            raise SourceError(
                f"--pairs {path}, lines {before} and {number}: both results would be called {pair[1].stem}; rename an rgb file"
            )
        files.append((pair[0], pair[1]))
    if not files:
        raise SourceError(f"--pairs {path} lists no pair; {LIST_REMEDY}")
    if not any(first.is_file() and second.is_file() for first, second in files):
        raise SourceError(f"--pairs {path}: no listed file exists, the first would be '{files[0][0]}' and '{files[0][1]}'")
    return files


def _holds_pictures(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(_is_picture(path) for path in folder.iterdir())
    except OSError:  # not readable
        return False


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _listed(name: str, folder: Path | None, path: Path) -> Path:
    found = [base / name for base in (folder, path.parent) if base is not None]
    return next((file for file in found if file.is_file()), found[0])


def _files_by_camera(thermal: Path, rgb: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The thermal files, the rgb files, and those of a folder given for both whose camera is unknown. Raises SourceError."""
    same = is_same(thermal, rgb)
    thermals, rgbs = pictures_in(thermal), pictures_in(rgb)
    unclear: list[Path] = []
    if same:
        found: dict[str, list[Path]] = defaultdict(list)
        for path, role in zip(thermals, cameras(stems(thermals)), strict=True):
            found[role].append(path)
        if not found["thermal"] and not found["rgb"]:
            names = first_names(path.name for path in thermals)
            raise SourceError(
                f"{thermal} is given for both cameras, and the names there ({names}) do not say which camera took "
                f"a picture (NAME_T and NAME_V, ir_NAME and rgb_NAME): give two folders, or {LIST_REMEDY}"
            )
        # A camera that adds no word to its names: 0001.jpg beside 0001_T.jpg.
        missing = next((role for role in ("thermal", "rgb") if not found[role]), "")
        found[missing], unclear = found[""], [] if missing else found[""]
        thermals, rgbs = found["thermal"], found["rgb"]
    else:
        of_folders = [named_camera([thermal.resolve().name]), named_camera([rgb.resolve().name])]
        if ["rgb", "thermal"] in (of_folders, [named_camera(stems(thermals)), named_camera(stems(rgbs))]):
            raise SourceError(
                f"{thermal} ({thermals[0].name}, ...) is given as thermal and {rgb} ({rgbs[0].name}, ...) as rgb, and their names say the "
                f"opposite: give the thermal folder first (or, if the names are wrong, {LIST_REMEDY})"
            )
        own = _of_camera("thermal", thermals), _of_camera("rgb", rgbs)
        if len(own[0]) < len(thermals) and len(own[1]) < len(rgbs):
            raise SourceError(f"{thermal} and {rgb} both hold pictures of both cameras: give one of the two alone, or {LIST_REMEDY}")
        thermals, rgbs = own
    for paths in (thermals, rgbs):
        seen: dict[str, Path] = {}
        for path in paths:
            if seen.setdefault(path.stem, path) is not path:
                raise SourceError(
                    f"{path.parent} holds both {seen[path.stem].name} and {path.name}; names without suffix must be unique: remove one, "
                    f"or {LIST_REMEDY}"
                )
    return thermals, rgbs, unclear


def _of_camera(role: str, paths: list[Path]) -> list[Path]:
    """The role's own files of a folder in which each name says thermal or rgb, and both occur; all files of another folder."""
    roles = cameras(stems(paths))
    return [path for path, found in zip(paths, roles, strict=True) if found == role] if set(roles) == {"thermal", "rgb"} else paths


def _shown(files: Files, how: str) -> str:
    shown = first_names(f"{thermal.name} + {rgb.name}" for thermal, rgb in files)
    return f"{len(files)} pairs {how}: {shown}"


def _no_pair(thermal: Path, rgb: Path, thermals: Sequence[Path], rgbs: Sequence[Path], sync: SyncConfig) -> str:
    of_thermal, of_rgb = (first_names(path.name for path in paths) for paths in (thermals, rgbs))
    names = f"no file of {thermal} ({of_thermal}) has a partner in {rgb} ({of_rgb}): "
    remedies = [LIST_REMEDY]
    if not order_contradiction(thermals, rgbs, sync):
        remedies.append("pair them in their order with --in-order")
    apart_ns = first_stamps_apart_ns(thermals, rgbs)
    if apart_ns is None:
        reason = "suffixes and the words that say the camera (_T, ir, rgb) may differ, the rest must not"
        return f"{names}{reason}: rename them, {', or '.join(remedies)}"
    remedies.append(f"if the cameras started together, correct their clocks with --set sync.clock_offset_ms={apart_ns / 1e6:.0f}")
    return (
        f"{names}the first stamps in the names are {apart_ns / 1e9:.3f} s apart, and no two are near each other: {', or '.join(remedies)}"
    )
