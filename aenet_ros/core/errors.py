"""Typed errors. Each message names the offending value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class AenetError(Exception):
    """Base class of errors that the user's input, files or hardware cause."""


class ConfigError(AenetError, ValueError):
    """A configuration value is out of bounds, of the wrong type, or unknown."""


class ImageError(AenetError, ValueError):
    """An image message or array cannot be decoded, encoded or fused."""


class UnsupportedEncodingError(ImageError):
    """The codec does not support the encoding; the message lists the supported ones."""


class CheckpointError(AenetError):
    """Weights are missing, damaged, modified, or of another architecture."""


class DeviceError(AenetError, RuntimeError):
    """The compute device is missing or failed."""


class SourceError(AenetError):
    """A file, folder, video or bag is missing, damaged or not writable."""


class MissingDependencyError(AenetError, ImportError):
    """An optional package that is needed is not installed."""


def format_error(error: Exception) -> str:
    """The message of an AenetError; other errors are prefixed with their type."""
    return str(error) if isinstance(error, AenetError) else f"{type(error).__name__}: {error}"


def first_line(error: Exception) -> str:
    """The first line of an error message of a library."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def similar(name: str, known: Iterable[str]) -> str:
    """For messages on an unknown name: " (did you mean NAME?)", or "" if no known name is similar.

    Names may be dotted; the last part alone finds them too.
    """
    names = list(known)
    last = name.rpartition(".")[2]
    found = get_close_matches(name, names, 1, 0.72) or [each for each in names if each.rpartition(".")[2] == last]
    return f" (did you mean {' or '.join(found[:3])}?)" if found else ""


def sanitize(value: object) -> str:
    """A received value, quoted for an error message: control characters escaped, at most 60 characters."""
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
