"""What the page shows, a robot or a bag, behind one protocol."""

from collections.abc import Callable
from typing import Any, Protocol

from aenet_ros.config import specs
from aenet_ros.view.snapshot import Snapshot

OK, WARN, ERROR, OFFLINE, WAITING = range(5)
"""Levels of the page's status. 0 to 2 are those of diagnostics. OFFLINE: the robot is not there. WAITING: no data came yet."""


class ViewSource(Protocol):
    """Delivers snapshots while a page is open. The server's thread calls all methods; all but ``close`` return at once."""

    kind: str
    """``robot`` or ``bag``."""
    title: str

    def start(self, on_snapshot: Callable[[Snapshot], None]) -> None:
        """Start the source. It may call ``on_snapshot`` from any thread."""

    def set_streams(self, streams: frozenset[str]) -> None:
        """Set the streams that open pages show, of STREAMS. Without any, a robot is not subscribed to and a bag pauses."""

    def state(self) -> dict[str, Any]:
        """Status, rates, values of the options and so on, for JSON."""

    def options(self) -> list[str]:
        """Names of the options that can be changed here."""

    async def set_option(self, name: str, value: Any) -> str:
        """Change an option. Returns why the value was refused, or an empty text."""

    def control(self, action: str, value: float) -> None:
        """``play``, ``pause``, ``step``, ``seek`` (``value`` in s from the start) or ``speed`` (factor); else NaN. A robot ignores it."""

    def close(self) -> None:
        """Stop the threads and release all resources."""


def option_controls(names: list[str]) -> list[dict[str, Any]]:
    """What the page needs to draw a control for each option."""
    kinds = {bool: "bool", int: "int", float: "float", str: "text"}
    chosen = [specs()[name] for name in names]
    return [{**spec._asdict(), "kind": "choice" if spec.choices else kinds[type(spec.default)]} for spec in chosen]


def dynamic_options() -> list[str]:
    """Names of the options that can change while a node runs."""
    return [name for name, spec in specs().items() if spec.dynamic]


def status_row(status: Any) -> dict[str, Any]:
    """A diagnostic_msgs/DiagnosticStatus for the page, without the node's name."""
    level = status.level
    return {
        "name": status.name.partition(": ")[2] or status.name,
        "level": int.from_bytes(level, "little") if isinstance(level, bytes) else int(level),
        "message": status.message,
        "values": {item.key: item.value for item in status.values},
    }
