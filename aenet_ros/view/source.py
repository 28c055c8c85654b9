"""What a server shows: a robot or a bag, behind one face."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aenet_ros.config import specs
from aenet_ros.view.snapshot import Moment

OK, WARN, ERROR, GONE = 0, 1, 2, 3
"""Levels of what is said: as in diagnostics, and for a robot that is not there."""


class Source(Protocol):
    """Gives moments while a page is open. All but ``close`` is called by the server's thread, and returns at once."""

    kind: str
    """``robot`` or ``bag``."""
    title: str

    def start(self, show: Callable[[Moment], None]) -> None:
        """``show`` may be called from any thread."""

    def want(self, streams: frozenset[str]) -> None:
        """The pictures that open pages look at, of STREAMS; none of them: leave the robot alone, or pause."""

    def state(self) -> dict[str, Any]:
        """What is said beside the pictures, as JSON knows it."""

    def options(self) -> list[str]:
        """Names of the options that may be changed here."""

    def set_option(self, name: str, value: Any) -> Awaitable[str]:
        """Why the value was refused, or an empty text."""

    def command(self, words: Mapping[str, Any]) -> None:
        """Play, pause, seek: for a bag only."""

    def close(self) -> None:
        """Stop threads, give back what is held."""


def option_facts(names: list[str]) -> list[dict[str, Any]]:
    """What a page needs to draw a control for each option."""
    facts = []
    for name in names:
        spec = specs()[name]
        kind = "choice" if spec.choices else {bool: "bool", int: "int", float: "float", str: "text"}[type(spec.default)]
        facts.append(
            {
                "name": name,
                "kind": kind,
                "doc": spec.doc,
                "unit": spec.unit,
                "low": spec.low,
                "high": spec.high,
                "choices": spec.choices,
                "default": spec.default,
            }
        )
    return facts


def dynamic_options() -> list[str]:
    """Names of the options that a running node takes."""
    return [name for name, spec in specs().items() if spec.dynamic]
