"""Atomic file writes: a file is complete or absent, also after Ctrl-C, a full disk or a killed process."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aenet_ros.core.errors import SourceError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``. It is renamed to ``path`` at the end, or removed after any exception.

    The temporary path has the same suffix, since writers choose the format by it. Raises SourceError instead of OSError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror or error}") from error
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # mkstemp creates it with mode 600
        part.replace(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path``, replacing an existing file. Raises SourceError."""
    with atomic_file(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
