"""The errors of aenet_ros: each names the offending value and says what to do about it."""


class AenetError(Exception):
    """Base of every error that a user's input, files or hardware can cause."""


class ConfigError(AenetError, ValueError):
    """A configuration value is out of bounds, of the wrong type, or unknown."""


class ImageError(AenetError, ValueError):
    """An image message or array cannot be decoded, encoded or fused as it is."""


class UnsupportedEncodingError(ImageError):
    """The encoding is none that the codec reads; the message lists those it does."""


class CheckpointError(AenetError):
    """Weights are missing, damaged, tampered with, or of another architecture."""


class DeviceError(AenetError, RuntimeError):
    """The wanted compute device is absent or failed."""


class SourceError(AenetError):
    """A file, folder, video or bag to read from or write to is missing or damaged."""


class MissingDependencyError(AenetError, ImportError):
    """An optional package is needed for what was asked and is not installed."""


def format_error(error: Exception) -> str:
    """An AenetError's sentence; of any other error its type too, for its text alone may say little."""
    return str(error) if isinstance(error, AenetError) else f"{type(error).__name__}: {error}"


def first_line(error: Exception) -> str:
    """The first line of a library's error, whose others are of no use to who reads it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def sanitize(value: object) -> str:
    """A message's text for an error: in quotes, without control characters, and short whatever was sent."""
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
