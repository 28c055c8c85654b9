"""The open pages: one ClientSession per WebSocket, and the SessionHub that connects all of them to one source."""

import asyncio
import contextlib
import json
import math
import struct
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
from aiohttp import WSMsgType, web

from aenet_ros.core.errors import format_error
from aenet_ros.view import ViewSettings
from aenet_ros.view.snapshot import STREAMS, Box, Point, Snapshot
from aenet_ros.view.source import ViewSource, option_controls

MAX_POINTS = 2
WINDOW = 2
"""Snapshots in flight to a page: one is drawn while the next one travels."""
MIN_WIDTH, MAX_WIDTH, WIDTH_STEP = 160, 3840, 160
STATE_PERIOD_S = 0.5
RELEASE_DELAY_S = 2.0  # a page that is reloaded finds the streams still open


class SessionHub:
    """Shows one source to any number of pages: newest snapshot, open sessions, and which streams they need."""

    def __init__(self, source: ViewSource, settings: ViewSettings) -> None:
        self.source, self.settings = source, settings
        self.newest: Snapshot | None = None
        # One thread encodes for all pages, so that the viewer takes at most about one core of a robot.
        self.encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.hello = {"type": "hello", "kind": source.kind, "title": source.title, "options": option_controls(source.options())}
        self._sessions: set[ClientSession] = set()
        self._release: asyncio.TimerHandle | None = None

    async def start(self, _app: web.Application) -> None:
        """Start the source."""
        cv2.setNumThreads(1)
        self._loop = asyncio.get_running_loop()
        self.source.start(self._on_snapshot)

    async def stop(self, _app: web.Application) -> None:
        """Close all pages and the source."""
        for session in list(self._sessions):
            await session.socket.close(code=1001, message=b"the viewer was stopped")
        if self._release is not None:
            self._release.cancel()
        self.source.close()
        self.encoder.shutdown(wait=False)

    async def run_session(self, socket: web.WebSocketResponse) -> None:
        """Serve one page until it is closed."""
        session = ClientSession(socket, self)
        self._sessions.add(session)
        try:
            await session.serve()
        finally:
            self._sessions.discard(session)
            self.update_streams()

    def update_streams(self) -> None:
        """Set the streams of the source to those that the open pages need. Without any, the streams stay open for RELEASE_DELAY_S."""
        streams = frozenset(stream for session in self._sessions for stream in session.streams)
        if self._release is not None:
            self._release.cancel()
        delay_s = 0.0 if streams else RELEASE_DELAY_S
        self._release = self._loop.call_later(delay_s, self.source.set_streams, streams)

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        """Called from any thread."""
        self.newest = snapshot
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake_sessions)

    def _wake_sessions(self) -> None:
        for session in self._sessions:
            session.changed.set()


class Request(NamedTuple):
    """What a page shows: streams of STREAMS, measuring points, a box, and whether spots are marked."""

    streams: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    box: Box | None = None
    spots: bool = False


class ClientSession:
    """The server's end of one open page. ``streams``: what its source must deliver; empty while its tab is hidden."""

    def __init__(self, socket: web.WebSocketResponse, hub: SessionHub) -> None:
        self.socket, self._hub = socket, hub
        self.streams: tuple[str, ...] = ()
        self.changed = asyncio.Event()
        self._width = 1280
        self._request = Request()
        self._credit = WINDOW
        self._sent: Snapshot | None = None  # the latest; None also after a new request, for which it is sent again
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Send snapshots and handle messages until the page is closed."""
        await self._send_json(self._hub.hello)
        self._start_task(self._send_states())
        self._start_task(self._send_snapshots())
        try:
            async for message in self.socket:
                if message.type == WSMsgType.TEXT:
                    self._on_message(message.data)
        finally:
            for task in self._tasks:
                task.cancel()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_json(self, message: Mapping[str, Any]) -> None:
        """Send a message as JSON. NaN and infinity become null, because JSON has neither."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.socket.send_str(json.dumps(_finite(message)))

    async def _send_states(self) -> None:
        while True:
            await self._send_json({"type": "state", **self._hub.source.state()})
            await asyncio.sleep(STATE_PERIOD_S)

    # Messages of the page are not trusted: whatever does not fit is ignored.

    def _on_message(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or nested too deeply
            return
        if not isinstance(message, dict):
            return
        kind = message.get("type")
        if kind == "drawn":
            self._credit = min(self._credit + 1, WINDOW)
            self.changed.set()
        elif kind == "request":
            self._on_request(message)
        elif kind == "set" and isinstance(message.get("name"), str):
            self._start_task(self._set_option(message["name"], message.get("value")))
        elif kind in ("play", "pause", "seek", "step", "speed"):
            self._hub.source.control(kind, _number(message.get("value")))

    def _on_request(self, message: Mapping[str, Any]) -> None:
        streams, points, width = message.get("streams"), message.get("points"), _number(message.get("width"))
        if isinstance(streams, list):
            self._request = self._request._replace(streams=tuple(name for name in STREAMS if name in streams))
        if isinstance(points, list):
            found = (_numbers(point, 2) for point in points[:MAX_POINTS])
            self._request = self._request._replace(points=tuple((point[0], point[1]) for point in found if point))
        if not math.isnan(width):
            self._width = int(min(max(math.ceil(width / WIDTH_STEP) * WIDTH_STEP, MIN_WIDTH), MAX_WIDTH))
        box = _numbers(message.get("box"), 4)
        self._request = request = self._request._replace(
            box=(box[0], box[1], box[2], box[3]) if box else None, spots=message.get("spots") is True
        )
        # Readings need the thermal stream, shown or not.
        measures = "thermal" not in request.streams and (request.points or request.box)
        added = (("thermal",) if measures else ()) + (("spots",) if request.spots else ())
        self.streams = (*request.streams, *added) if request.streams else ()
        self._sent = None
        self.changed.set()
        self._hub.update_streams()

    async def _set_option(self, name: str, value: Any) -> None:
        reason = f"{name} cannot be changed here"
        if name in self._hub.source.options():
            try:
                reason = await self._hub.source.set_option(name, value)
            except Exception as error:  # a value of a wrong type; the page waits for an answer
                reason = f"{name}: the value cannot be used: {format_error(error)}"
        await self._send_json({"type": "answer", "name": name, "ok": not reason, "reason": reason})

    async def _send_snapshots(self) -> None:
        loop, settings = asyncio.get_running_loop(), self._hub.settings
        last_s = 0.0
        while True:
            await self.changed.wait()
            self.changed.clear()
            snapshot = self._hub.newest
            if snapshot is None or snapshot is self._sent or not self.streams or self._credit < 1:
                continue
            await asyncio.sleep(max(0.0, last_s + 0.9 / settings.max_hz - time.monotonic()))
            last_s = time.monotonic()
            self._sent = snapshot = self._hub.newest or snapshot
            data = await loop.run_in_executor(self._hub.encoder, self._pack, snapshot, self._request)
            self._credit -= 1
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self.socket.send_bytes(data)
            if self._hub.newest is not self._sent:
                self.changed.set()

    def _pack(self, snapshot: Snapshot, request: Request) -> bytes:
        """Length of the header (uint32, little endian), the header (JSON), then the JPEGs that it lists."""
        pictures: list[bytes] = []
        header: dict[str, Any] = {"stamp_ns": str(snapshot.stamp_ns), "at_s": snapshot.at_ns * 1e-9, "parts": [], "errors": {}}
        for stream in request.streams:
            if stream in snapshot.pictures:
                try:
                    pictures.append(snapshot.jpeg(stream, self._width, self._hub.settings.quality))
                    header["parts"].append([stream, len(pictures[-1])])
                except Exception as error:  # a damaged message must not close the page
                    header["errors"][stream] = format_error(error)
        try:
            if request.points or request.box:
                readings = snapshot.readings(request.points, request.box)
                header["readings"] = None if readings is None else readings._asdict()
            if request.spots:
                header["spots"] = snapshot.spots()
        except Exception as error:
            header["errors"]["thermal"] = format_error(error)
        text = json.dumps(_finite(header)).encode()
        return b"".join((struct.pack("<I", len(text)), text, *pictures))


def _numbers(given: Any, count: int) -> list[float]:
    """``count`` numbers from 0 to 1, or none."""
    if isinstance(given, list) and len(given) == count and all(0.0 <= _number(value) <= 1.0 for value in given):
        return [float(value) for value in given]
    return []


def _number(value: Any) -> float:
    """A finite number, or NaN for anything else."""
    with contextlib.suppress(OverflowError):
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    return math.nan


def _finite(value: Any) -> Any:
    """Replace NaN and infinity with None, in nested containers too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
