"""Files that are there whole or not at all, whatever comes between: Ctrl-C, a full disk, a lost process."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aenet_ros.core.errors import SourceError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; renamed onto ``path`` at the end, removed where anything, Ctrl-C too, comes between.

    It keeps the suffix, since writers choose the format by it. Raises SourceError in place of OSError.
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
        part.chmod(0o666 & ~_umask())  # mkstemp made it private
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
    """Write a text (UTF-8) or bytes, in place of what ``path`` held. Raises SourceError."""
    with atomic_file(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
