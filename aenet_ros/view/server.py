"""The web server: static files, the token check, and one WebSocket per open page.

A page names the streams it needs and confirms each snapshot it has drawn. It is then sent the newest one: a slow browser or network gets
fewer snapshots, never late ones, and nothing is queued. While no page is open the source has no streams to deliver.
"""

import asyncio
import errno
import signal
from collections.abc import Awaitable, Callable
from importlib.resources import files

import cv2
from aiohttp import web

from aenet_ros.core.errors import AenetError, SourceError
from aenet_ros.view.client_session import SessionHub
from aenet_ros.view.settings import Access, ViewSettings, is_local
from aenet_ros.view.source import ViewSource

FILES = {"/": ("index.html", "text/html"), "/style.css": ("style.css", "text/css"), "/app.js": ("app.js", "text/javascript")}
FILES |= {f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("stage", "panels")}
WRONG_TOKEN_DELAY_S = 0.5
MAX_MESSAGE_BYTES = 16 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves the page over HTTP; the sessions themselves belong to ``SessionHub``."""

    def __init__(self, source: ViewSource, settings: ViewSettings) -> None:
        self._hub = SessionHub(source, settings)
        self._access = Access(settings.token, is_local(settings.host))

    def app(self) -> web.Application:
        """The web application, for aiohttp to run."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_MESSAGE_BYTES)
        for path, (name, kind) in FILES.items():
            app.router.add_get(path, _file(name, kind))
        app.router.add_post("/", self._sign_in)
        app.router.add_get("/ws", self._connect)
        app.on_response_prepare.append(_set_headers)
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._stop)
        return app

    async def _start(self, _app: web.Application) -> None:
        cv2.setNumThreads(1)
        self._hub.start()

    async def _stop(self, _app: web.Application) -> None:
        await self._hub.stop()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not self._access.host_allowed(host):
            text = f"'{host}' is not this machine's own name: open http://localhost:PORT/ or http://127.0.0.1:PORT/"
            return web.Response(status=403, text=f"{text}\n")
        if not self._access.origin_allowed(request.headers.get("Origin"), host):
            return web.Response(status=403, text="requests of other sites' pages are refused\n")
        if request.method != "POST" and not self._access.cookie_matches(request.cookies.get(self._access.cookie_name, "")):
            return await self._require_token(request)
        return await handler(request)

    async def _require_token(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "")
        if request.path == "/" and given:
            return await self._accept_token(given)
        if request.path == "/style.css":
            return await _file(*FILES["/style.css"])(request)
        if request.path != "/":
            return web.Response(status=401, text="a token is required: open this viewer's start page\n")
        return web.Response(status=401, text=_read_page("token.html"), content_type="text/html")

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        return await self._accept_token(str((await request.post()).get("token", "")))

    async def _accept_token(self, token: str) -> web.StreamResponse:
        """Set the cookie and redirect, so that the token does not stay in the address bar."""
        if not self._access.token_matches(token):
            await asyncio.sleep(WRONG_TOKEN_DELAY_S)
            text = _read_page("token.html").replace("<!-- wrong -->", "Wrong token. Each start without --token generates a new one.")
            return web.Response(status=401, text=text, content_type="text/html")
        answer = web.Response(status=303, headers={"Location": "./"})
        answer.set_cookie(self._access.cookie_name, self._access.cookie, httponly=True, samesite="Strict", path="/")
        return answer

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=15.0, compress=False, max_msg_size=MAX_MESSAGE_BYTES)
        await socket.prepare(request)
        await self._hub.run_session(socket)
        return socket


def _file(name: str, kind: str) -> Handler:
    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=_read_page(name), content_type=kind, charset="utf-8")

    return respond


def _read_page(name: str) -> str:
    return (files("aenet_ros.view") / "page" / name).read_text(encoding="utf-8")


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def serve(source: ViewSource, settings: ViewSettings, ready: Callable[[int], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. ``ready`` is called with the port. Raises SourceError if the address cannot be bound."""
    asyncio.run(_serve(source, settings, ready))


async def _serve(source: ViewSource, settings: ViewSettings, ready: Callable[[int], None]) -> None:
    runner = web.AppRunner(Server(source, settings).app(), access_log=None)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, shutdown_timeout=1.0)
        try:
            await site.start()
        except OSError as error:
            raise _cannot_listen(settings, error) from error
        ready(int(runner.addresses[0][1]))
        await stopped.wait()
    finally:
        await runner.cleanup()


def _cannot_listen(settings: ViewSettings, error: OSError) -> AenetError:
    where = f"port {settings.port} of {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return SourceError(f"{where} is in use, perhaps by another `aenet view`: give another --port, or --port 0 for any free one")
    if error.errno == errno.EADDRNOTAVAIL or error.errno is None or error.errno < 0:
        return SourceError(f"--host {settings.host} is not an address of this machine: give 127.0.0.1, or 0.0.0.0 for all addresses")
    return SourceError(f"cannot listen on {where}: {error.strerror}; give another --port above 1023")
