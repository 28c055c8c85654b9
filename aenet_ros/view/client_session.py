"""The server's end of one open page: what it looks at, what it asks for, and how it is sent moments."""

import asyncio
import contextlib
import json
import math
import struct
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from aenet_ros.core.errors import format_error
from aenet_ros.view.snapshot import STREAMS, Moment, Point

if TYPE_CHECKING:
    from aenet_ros.view.server import Server

MOST_SPOTS = 2
WINDOW = 2
"""Moments on their way to a page: one is drawn while the next one travels."""
LEAST_WIDTH, MOST_WIDTH, WIDTH_STEP = 160, 3840, 160


class ClientSession:
    """``streams``: what the page looks at, of STREAMS; empty while its tab is hidden."""

    def __init__(self, socket: web.WebSocketResponse, server: "Server") -> None:
        self.streams: tuple[str, ...] = ()
        self.changed = asyncio.Event()
        self._socket, self._server = socket, server
        self._width = 1280
        self._spots: list[Point] = []
        self._shown: tuple[str, ...] = ()
        self._credit = WINDOW
        self._again = False  # show the newest moment once more: the page looks at something else
        self._setting: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the page is closed."""
        await self.tell(self._server.hello)
        await self.tell({"type": "state", **self._server.source.state()})
        sending = asyncio.create_task(self._send())
        try:
            async for message in self._socket:
                if message.type == WSMsgType.TEXT:
                    self._hear(message.data)
        finally:
            sending.cancel()
            for task in self._setting:
                task.cancel()

    async def close(self, reason: str) -> None:
        """Say good-bye."""
        await self._socket.close(code=1001, message=reason.encode())

    async def tell(self, words: Mapping[str, Any]) -> None:
        """Words as JSON; NaN, which JSON does not know, as null."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._socket.send_str(json.dumps(_finite(words)))

    # What the page says. It may be anything: what does not fit is passed over.

    def _hear(self, text: str) -> None:
        try:
            words = json.loads(text)
        except ValueError:
            return
        if not isinstance(words, dict):
            return
        kind = words.get("type")
        if kind == "drawn":
            self._credit = min(self._credit + 1, WINDOW)
            self.changed.set()
        elif kind == "look":
            self._look(words)
        elif kind == "set" and isinstance(words.get("name"), str):
            task = asyncio.create_task(self._set(words["name"], words.get("value")))
            self._setting.add(task)
            task.add_done_callback(self._setting.discard)
        elif kind in ("play", "pause", "seek", "step", "speed"):
            self._server.source.command(words)

    def _look(self, words: Mapping[str, Any]) -> None:
        streams, spots, width = words.get("streams"), words.get("spots"), words.get("width")
        if isinstance(streams, list):
            self._shown = tuple(name for name in STREAMS if name in streams)
        if isinstance(spots, list):
            self._spots = [point for point in map(_point, spots[:MOST_SPOTS]) if point is not None]
        if isinstance(width, (int, float)) and math.isfinite(width):
            self._width = int(min(max(math.ceil(width / WIDTH_STEP) * WIDTH_STEP, LEAST_WIDTH), MOST_WIDTH))
        # Counts come with the thermal picture's topic.
        measures = bool(self._shown and self._spots and "thermal" not in self._shown)
        self.streams = (*self._shown, "thermal") if measures else self._shown
        self._again = True
        self.changed.set()
        self._server.rest_or_wake()

    async def _set(self, name: str, value: Any) -> None:
        if name not in self._server.source.options():
            reason = f"{name} cannot be changed here"
        else:
            reason = await self._server.source.set_option(name, value)
        await self.tell({"type": "answer", "name": name, "ok": not reason, "reason": reason})

    # What the page is sent.

    async def _send(self) -> None:
        sent: Moment | None = None
        last = 0.0
        while True:
            await self.changed.wait()
            self.changed.clear()
            moment = self._server.newest
            if moment is None or not self.streams or self._credit < 1 or (moment is sent and not self._again):
                continue
            pause = last + 1.0 / self._server.settings.max_hz * 0.9 - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
                moment = self._server.newest or moment
            last = time.monotonic()
            self._again, sent = False, moment
            data = await asyncio.get_running_loop().run_in_executor(
                self._server.encoder, self._pack, moment, self._shown, list(self._spots)
            )
            self._credit -= 1
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self._socket.send_bytes(data)
            if self._server.newest is not sent or self._again:
                self.changed.set()

    def _pack(self, moment: Moment, streams: tuple[str, ...], spots: list[Point]) -> bytes:
        """Length of the header (uint32, little endian), the header (JSON), then the JPEGs that it lists."""
        pictures: list[bytes] = []
        header: dict[str, Any] = {"stamp_ns": str(moment.stamp_ns), "at_s": moment.at_ns * 1e-9, "parts": [], "faults": {}}
        for stream in streams:
            if stream not in moment.streams:
                continue
            try:
                pictures.append(moment.jpeg(stream, self._width, self._server.settings.quality))
                header["parts"].append([stream, len(pictures[-1])])
            except Exception as error:  # whatever a message holds, it must not end the page
                header["faults"][stream] = format_error(error)
        try:
            header["spots"] = [reading._asdict() for reading in moment.readings(spots)]
        except Exception as error:  # likewise
            header["faults"]["thermal"] = format_error(error)
        text = json.dumps(_finite(header)).encode()
        return b"".join((struct.pack("<I", len(text)), text, *pictures))


def _point(given: Any) -> Point | None:
    """Two numbers from 0 to 1, or None."""
    if not isinstance(given, list) or len(given) != 2:
        return None
    if not all(isinstance(value, (int, float)) and 0.0 <= value <= 1.0 for value in given):
        return None
    return float(given[0]), float(given[1])


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
