"""What the name of a picture file says: the camera, the numbers, and the time of capture. Names here are file names without suffix."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

THERMAL_WORDS = frozenset(["thermal", "therm", "thermo", "th", "ir", "infrared", "lwir", "mwir", "swir", "tir", "lepton", "boson"])
RGB_WORDS = frozenset(["rgb", "vis", "vi", "visible", "visual", "color", "colour", "eo", "optical", "photo", "wide", "zoom", "tv"])
NO_CAMERA = frozenset(["depth"])  # not a word of either camera, and left out when names are compared
THERMAL_LETTERS, RGB_LETTERS = frozenset("ti"), frozenset("vwz")
"""Single letters count at the end and the beginning of a name only: DJI_0001_T, V_0001, 00001i."""
ZOOM = ("zoom", "z")  # of two rgb pictures, the one with the wider view is taken
S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_UNIX = re.compile(r"(?<!\d)(?:([1-4]\d{9})(?:([._])(\d{1,9}))?|([1-4]\d{12})|([1-4]\d{15})|([1-4]\d{18}))(?!\d)")  # 2001 and later
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])[-_ T.,]*"
    r"([01]\d|2[0-3])[-_:.h]?([0-5]\d)[-_:.m]?([0-5]\d)(?:[.,](\d{1,9})|[-_s]?(\d{9}|\d{6}|\d{3}))?(?!\d)",
    re.IGNORECASE,
)
_SINCE_BOOT = re.compile(r"(?<!\d)(?:(\d{11,12}|[5-9]\d{12}|\d{14,15})|(\d+)\.(\d{3,9}))(?!\d)")


class _Part(NamedTuple):
    """What stands between two separators: words in lower case, and the number next to them, if there is one."""

    words: tuple[str, ...]
    number: int | None


def _parts(name: str) -> list[_Part]:
    found = []
    for part in re.split(r"[\W_]+", name):
        numbered = re.fullmatch(r"(\D*)(\d+)(\D*)", part)
        if numbered:
            found.append(_Part((*_words(numbered[1]), *_words(numbered[3])), int(numbered[2])))
        elif part:  # several numbers with letters between them: an identifier such as 57kWW3By
            found.append(_Part((part.casefold(),) if re.search(r"\d", part) else _words(part), None))
    return found


def _words(letters: str) -> tuple[str, ...]:
    """ThermalImage: thermal, image."""
    return tuple(word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^A-Za-z]+", letters))


def _tokens(name: str) -> list[str | int]:
    found: list[str | int] = []
    for part in _parts(name):
        found += [*part.words, *([] if part.number is None else [part.number])]
    return found


def _role(tokens: Sequence[str | int]) -> str:
    for thermal, rgb, looked_at in (
        (THERMAL_WORDS, RGB_WORDS, tokens),
        (THERMAL_LETTERS, RGB_LETTERS, tokens[-1:]),
        (THERMAL_LETTERS, RGB_LETTERS, tokens[:1]),
    ):
        is_thermal, is_rgb = (any(token in words for token in looked_at) for words in (thermal, rgb))
        if is_thermal != is_rgb:
            return "thermal" if is_thermal else "rgb"
    return ""


def named_camera(names: Sequence[str]) -> str:
    """The camera that words (not letters) in all names say, thermal or rgb; "" where they do not."""
    words = [[token for token in _tokens(name) if isinstance(token, int) or len(token) > 1] for name in names]
    roles = {_role(tokens) for tokens in words}
    return roles.pop() if len(roles) == 1 else ""


def cameras(names: Sequence[str]) -> list[str]:
    """The camera of each file of one folder, thermal or rgb, "" where the name does not say it. What all names share says nothing."""
    split = [_tokens(name) for name in names]
    first, shortest = split[0], min(len(tokens) for tokens in split)
    head = next((i for i in range(shortest) if any(tokens[i] != first[i] for tokens in split)), shortest)
    tail = next((i for i in range(shortest - head) if any(tokens[-1 - i] != first[-1 - i] for tokens in split)), shortest - head)
    return [_role(tokens[head : len(tokens) - tail]) for tokens in split]


def is_zoom(name: str) -> bool:
    """Whether the name says that the picture was taken by a zoom lens."""
    return any(token in ZOOM for token in _tokens(name)[-1:])


def without_camera(name: str) -> tuple[str | int, ...]:
    """Words and numbers of the name, without those that say the camera."""
    tokens = [token for token in _tokens(name) if token not in THERMAL_WORDS | RGB_WORDS | NO_CAMERA]
    letters = THERMAL_LETTERS | RGB_LETTERS
    if tokens and tokens[-1] in letters:
        return tuple(tokens[:-1])
    return tuple(tokens[1:] if tokens and tokens[0] in letters else tokens)


def numbers(names: Sequence[str]) -> list[tuple[int, ...]]:
    """The numbers of each name. One that is part of a word, and the same in all names (cam0, 8bit), belongs to the word."""
    parts = [[part for part in _parts(name) if part.number is not None] for name in names]
    constant = set()
    if len(names) > 1 and len({len(found) for found in parts}) == 1:
        constant = {index for index, part in enumerate(parts[0]) if part.words and len({found[index].number for found in parts}) == 1}
    return [tuple(part.number for i, part in enumerate(found) if part.number is not None and i not in constant) for found in parts]


def stamps_ns(names: Sequence[str]) -> list[int | None]:
    """Time of capture of each name, in ns; None where it has none.

    Unix time in s (with a fraction), ms, us or ns, a date with time (taken as UTC), or time since boot (in s with a fraction, or ns).
    """
    unix = [_UNIX.search(name) for name in names]
    fractions = [match[3] for match in unix if match and match[3]]
    lengths = {len(digits) for digits in fractions}
    # A fraction that is not filled up with zeros is a number of ns: 1650000000_52931126 is .052931126 s.
    unfilled = len(lengths) > 1 and max(lengths) > 7
    return [_stamp_ns(name, match, unfilled, len(lengths) == 1) for name, match in zip(names, unix, strict=True)]


def _stamp_ns(name: str, unix: re.Match[str] | None, unfilled: bool, one_length: bool) -> int | None:
    if unix:
        seconds, separator, fraction, milli, micro, nano = unix.groups()
        stamp_ns = next(int(digits) * unit for digits, unit in ((seconds, S), (milli, 10**6), (micro, 10**3), (nano, 1)) if digits)
        if fraction and unfilled:
            return stamp_ns + int(fraction)
        is_fraction = fraction and (separator == "." or (one_length and len(fraction) in (3, 6, 9)))
        return stamp_ns + (_fraction_ns(fraction) if is_fraction else 0)
    if date := _DATE.search(name):
        *fields, after_point, after_line = date.groups()
        try:
            at = datetime(*(int(text) for text in fields), tzinfo=timezone.utc)  # type: ignore[arg-type, misc]
        except ValueError:  # the 30th of February
            return None
        return (at - _EPOCH) // timedelta(seconds=1) * S + _fraction_ns(after_point or after_line or "")
    if boot := _SINCE_BOOT.search(name):
        nano, seconds, fraction = boot.groups()
        return int(nano) if nano else int(seconds) * S + _fraction_ns(fraction)
    return None


def _fraction_ns(digits: str) -> int:
    return int(digits.ljust(9, "0"))


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key: frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
