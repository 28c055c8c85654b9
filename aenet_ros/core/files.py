"""Files: atomic writes, and those that are installed with the package (configurations, launch files, layouts, DDS profile)."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as metadata_version
from pathlib import Path

from aenet_ros.core.errors import SourceError

NAME = "aenet_ros"


def share_dir() -> Path:
    """The folder that holds ``config/``, ``launch/``, ``rviz/`` and ``foxglove/``.

    The search goes up from this file, so the folder always belongs to the running code: the checkout, or
    ``PREFIX/share/aenet_ros`` of a colcon workspace, a virtual environment, ``pip --user`` or ``pip --target``.
    Raises SourceError if there is none.
    """
    here = Path(__file__).resolve()
    for parent in here.parents[1:]:
        for folder in (parent, parent / "share" / NAME):
            if (folder / "package.xml").is_file() and (folder / "config" / "fusion.yaml").is_file():
                return folder
    raise SourceError(f"no share/{NAME} above {here}: the package was copied rather than installed; use `colcon build` or `pip install .`")


def config_file(name: str) -> Path:
    """The path of a configuration file: ``name`` if that file exists, else the installed file of that name (``cpu.yaml``).

    Raises SourceError with the list of installed files if neither exists.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    folder = share_dir() / "config"
    if (folder / name).is_file():
        return folder / name
    shipped = ", ".join(sorted(item.name for item in folder.iterdir()))
    raise SourceError(f"there is no file '{name}' in {Path.cwd()} and no installed one of that name; installed are: {shipped}")


def process_environment(profile: str = "auto", present: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for each process that sends or receives images: a Fast DDS profile for large messages.

    ``profile`` is the launch argument dds_profile. ``auto``: the profile that ``present`` (default: ``os.environ``) already names,
    else ``config/fastdds_shm.xml``; ``none``: no variables; else a path. Sets the variable that the installed Fast DDS reads, or
    both if its version is unknown; other middlewares ignore them. Raises SourceError if the profile is not a file.
    """
    if profile == "none":
        return {}
    new, old = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
    given = os.environ if present is None else present
    # Fast DDS 2 (Jazzy and older) reads only the old name; version 3 warns about the old name in each process.
    names = {2: [old], 3: [new]}.get(_fastdds_version(given.get("ROS_DISTRO", "")), [new, old])
    path = given.get(names[0]) or given.get(new) or given.get(old) or "fastdds_shm.xml"
    return dict.fromkeys(names, str(config_file(path if profile == "auto" else profile)))


def _fastdds_version(distribution: str) -> int:
    """2 or 3: from the ROS distribution, else from the installed Python package; 0 if unknown."""
    if distribution:
        return 2 if distribution in ("humble", "iron", "jazzy") else 3
    for package in ("ros-fastdds", "ros-fastrtps"):  # names of versions 3 and 2 on PyPI
        with suppress(PackageNotFoundError):
            return int(metadata_version(package).partition(".")[0])
    return 0


def write_error(what: object, error: OSError) -> SourceError:
    """That ``what`` cannot be written, and why."""
    remedy = "; make room, or write to another disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return SourceError(f"{what} cannot be written: {error.strerror or error}{remedy}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``. It is renamed to ``path`` at the end, or removed after any exception.

    So a file is complete or absent, also after Ctrl-C, a full disk or a killed process. The temporary path has the same suffix, since
    writers choose the format by it. Raises SourceError instead of OSError.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        part = Path(name)
        os.close(handle)
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp creates it with mode 600
        part.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path``, replacing an existing file. Raises SourceError."""
    with atomic_file(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
