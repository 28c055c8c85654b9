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
from aenet_ros.view.access import Access, is_local
from aenet_ros.view.client_session import SessionHub
from aenet_ros.view.settings import ViewSettings
from aenet_ros.view.source import Source

FILES = {"/": ("index.html", "text/html"), "/style.css": ("style.css", "text/css"), "/app.js": ("app.js", "text/javascript")}
FILES |= {f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("stage", "panels")}
WRONG_TOKEN_S = 0.5
LARGEST_MESSAGE = 16 * 1024
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

    def __init__(self, source: Source, settings: ViewSettings) -> None:
        self._hub = SessionHub(source, settings)
        self._access = Access(settings.token, is_local(settings.host))

    def app(self) -> web.Application:
        """The web application, for aiohttp to run."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_MESSAGE)
        for path, (name, kind) in FILES.items():
            app.router.add_get(path, _file(name, kind))
        app.router.add_post("/", self._sign_in)
        app.router.add_get("/ws", self._connect)
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
        if not self._access.host_fits(host):
            text = f"'{host}' is not this machine's own name: open http://localhost:PORT/ or http://127.0.0.1:PORT/"
            return _with_headers(web.Response(status=403, text=f"{text}\n"))
        if not self._access.origin_fits(request.headers.get("Origin"), host):
            return _with_headers(web.Response(status=403, text="another site's page may not talk to this viewer\n"))
        if not self._access.cookie_fits(request.cookies.get(self._access.cookie_name, "")) and request.method != "POST":
            return await self._ask_for_token(request)
        try:
            return _with_headers(await handler(request))
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise

    async def _ask_for_token(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "")
        if request.path == "/" and given:
            return await self._let_in(given)
        if request.path == "/style.css":
            return _with_headers(await _file(*FILES["/style.css"])(request))
        if request.path != "/":
            return _with_headers(web.Response(status=401, text="this viewer asks for its token: open its first page\n"))
        return _with_headers(web.Response(status=401, text=_page("token.html"), content_type="text/html"))

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        return await self._let_in(str((await request.post()).get("token", "")))

    async def _let_in(self, token: str) -> web.StreamResponse:
        """A cookie takes the token's place, so that it does not stay in the address bar."""
        if not self._access.token_fits(token):
            await asyncio.sleep(WRONG_TOKEN_S)
            text = _page("token.html").replace("<!-- wrong -->", "That is not the token of this run.")
            return _with_headers(web.Response(status=401, text=text, content_type="text/html"))
        answer = web.Response(status=303, headers={"Location": "./"})
        answer.set_cookie(self._access.cookie_name, self._access.cookie, httponly=True, samesite="Strict", path="/")
        return _with_headers(answer)

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=15.0, compress=False, max_msg_size=LARGEST_MESSAGE)
        await socket.prepare(request)
        await self._hub.run_session(socket)
        return socket


def _file(name: str, kind: str) -> Handler:
    async def give(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=_page(name), content_type=kind, charset="utf-8")

    return give


def _page(name: str) -> str:
    return (files("aenet_ros.view") / "page" / name).read_text(encoding="utf-8")


def _with_headers(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:  # a WebSocket's are sent already
        response.headers.update(HEADERS)
    return response


def serve(source: Source, settings: ViewSettings, ready: Callable[[int], None]) -> None:
    """Run until Ctrl-C or SIGTERM; ``ready`` is told the port. Raises SourceError where it cannot listen."""
    asyncio.run(_serve(source, settings, ready))


async def _serve(source: Source, settings: ViewSettings, ready: Callable[[int], None]) -> None:
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
        return SourceError(f"{where} is taken, perhaps by another `aenet view`; give another --port, or --port 0 for one that is free")
    if error.errno == errno.EACCES:
        return SourceError(f"{where} may not be used by this user; give a --port over 1023")
    if error.errno == errno.EADDRNOTAVAIL or error.errno is None or error.errno < 0:
        return SourceError(f"--host {settings.host} is no address of this machine; give 127.0.0.1, or 0.0.0.0 for all of them")
    return SourceError(f"{where} cannot be listened on: {error.strerror or error}")
