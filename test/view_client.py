"""A client of `aenet view` without a browser: starts the command and exchanges the page's messages."""

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aenet view needs aiohttp: pip install '.[view]'")
import cv2  # noqa: E402
import numpy as np  # noqa: E402

PATIENCE_S = 90.0


class Viewer:
    """`aenet view ARGUMENTS --port 0` as a process; ``url`` is the address that it printed."""

    def __init__(self, log: Path, *arguments, environment=None):
        self._log = log
        with log.open("wb") as out:
            command = [sys.executable, "-m", "aenet_ros", "view", "--port", "0", *map(str, arguments)]
            given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(environment or {})}
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=given)
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"http://\S+", self.log())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                pytest.fail(f"no viewer:\n{self.log()}")
            time.sleep(0.05)
        self.url = found[0].partition("?")[0]
        self.token = found[0].partition("?token=")[2]
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def log(self):
        """What it printed."""
        return self._log.read_text(errors="replace")

    def close(self):
        """Stop it with SIGINT; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


class Page:
    """An open WebSocket. ``snapshots``: (header, pictures by stream as arrays); ``states`` and ``answers``: messages."""

    def __init__(self, socket, draws=True):
        self.socket, self.draws = socket, draws
        self.snapshots, self.states, self.answers, self.hello = [], [], [], None
        self._reading = None

    async def send(self, **message):
        """Send a message to the server."""
        await self.socket.send_str(json.dumps(message))

    async def request(self, *streams, points=(), width=4000, **more):
        """Request pictures, and readings at points; ``more``: box, spots."""
        await self.send(type="request", streams=streams, points=points, width=width, **more)

    async def receive(self, seconds=0.1):
        """Receive one message, if one comes."""
        # A cancelled receive may lose its message, so the same one is awaited again.
        self._reading = self._reading or asyncio.ensure_future(self.socket.receive())
        done, _ = await asyncio.wait([self._reading], timeout=seconds)
        if not done:
            return
        message, self._reading = self._reading.result(), None
        if message.type == aiohttp.WSMsgType.BINARY:
            self.snapshots.append(unpack(message.data))
            if self.draws:
                await self.send(type="drawn")
        elif message.type == aiohttp.WSMsgType.TEXT:
            received = json.loads(message.data)
            if received["type"] == "hello":
                self.hello = received
            else:
                (self.states if received["type"] == "state" else self.answers).append(received)
        else:
            pytest.fail(f"the connection ended: {message}")

    async def until(self, condition, what, patience_s=PATIENCE_S):
        """Receive until ``condition()`` is true; returns its value."""
        deadline = time.monotonic() + patience_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {patience_s} s for {what}; last state: {self.states[-1:]}"
            await self.receive()
        return value

    async def during(self, seconds):
        """Receive for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await self.receive()

    async def set(self, name, value):
        """Set an option; returns the answer."""
        count = len(self.answers)
        await self.send(type="set", name=name, value=value)
        await self.until(lambda: len(self.answers) > count, f"an answer on {name}")
        return self.answers[-1]

    def close(self):
        """Cancel the pending receive."""
        if self._reading is not None:
            self._reading.cancel()


def unpack(data):
    """The header and the pictures of a snapshot."""
    length = struct.unpack_from("<I", data)[0]
    header = json.loads(data[4 : 4 + length])
    at, pictures = 4 + length, {}
    for stream, size in header["parts"]:
        pictures[stream] = cv2.imdecode(np.frombuffer(data, np.uint8, size, at), cv2.IMREAD_UNCHANGED)
        at += size
    assert at == len(data)
    return header, pictures


def with_page(url, talk, *, draws=True, headers=None):
    """Run ``talk(page)``, a coroutine function, with a page open at ``url``."""

    async def run():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}ws", headers=headers) as socket:
            page = Page(socket, draws)
            with contextlib.closing(page):
                return await talk(page)

    return asyncio.run(run())


def fetch(url, path="", method="GET", **options):
    """Status, headers and text of a request; redirects are not followed."""
    from yarl import URL

    async def run():
        address = URL(url + path, encoded=True)
        async with aiohttp.ClientSession() as session, session.request(method, address, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, await answer.text()

    return asyncio.run(run())
