"""The web server: static files, the token check, and one WebSocket per open page.

A page names the streams it needs and confirms each snapshot it has drawn. It is then sent the newest one: a slow browser or network gets
fewer snapshots, never late ones, and nothing is queued. While no page is open the source has no streams to deliver.
"""

import asyncio
import errno
import hashlib
import hmac
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import web

from aenet_ros.core.errors import SourceError
from aenet_ros.view import ViewSettings, is_local
from aenet_ros.view.client_session import SessionHub
from aenet_ros.view.source import ViewSource

FILES = {"/": ("index.html", "text/html"), "/style.css": ("style.css", "text/css")}
FILES |= {f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("app", "stage", "measure", "panels", "player")}
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


class Access:
    """Checks of a request. ``token``: the required token, or empty. ``local``: the server listens on this machine only.

    The browser keeps ``cookie`` instead of the token. ``cookie_name`` depends on it: browsers send a host's cookies to all of its ports.
    """

    def __init__(self, token: str, local: bool) -> None:
        self._token, self._local = token, local
        self.cookie = hmac.new(token.encode(), b"aenet view", hashlib.sha256).hexdigest()
        self.cookie_name = f"aenet_view_{self.cookie[:8]}"

    def token_matches(self, given: str) -> bool:
        """Compare in constant time."""
        return not self._token or hmac.compare_digest(given.encode(), self._token.encode())

    def cookie_matches(self, given: str) -> bool:
        """Compare in constant time."""
        return not self._token or hmac.compare_digest(given.encode(), self.cookie.encode())

    def host_allowed(self, host: str) -> bool:
        """Whether a request's Host header may name this server: a local one accepts only names of this machine (DNS rebinding).

        The port is not compared, because ssh may forward another one. Other servers require the cookie.
        """
        try:
            return not self._local or is_local(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False

    @staticmethod
    def origin_allowed(origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page. Browsers send Origin with every WebSocket and every POST."""
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


class Server:
    """Serves the page over HTTP; the sessions themselves belong to ``SessionHub``."""

    def __init__(self, source: ViewSource, settings: ViewSettings) -> None:
        self._hub = SessionHub(source, settings)
        self._access = Access(settings.token, is_local(settings.host))

    def app(self) -> web.Application:
        """The web application, for aiohttp to run."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_MESSAGE_BYTES)
        for path in FILES:
            app.router.add_get(path, _send_file)
        app.router.add_post("/", self._sign_in)
        app.router.add_get("/ws", self._connect)
        app.on_response_prepare.append(_set_headers)
        app.on_startup.append(self._hub.start)
        app.on_shutdown.append(self._hub.stop)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not self._access.host_allowed(host):
            text = f"'{host}' is not this machine's own name: open http://localhost:PORT/ or http://127.0.0.1:PORT/"
            return web.Response(status=403, text=f"{text}\n")
        if not self._access.origin_allowed(request.headers.get("Origin"), host):
            return web.Response(status=403, text="requests of other sites' pages are refused\n")
        if self._access.cookie_matches(request.cookies.get(self._access.cookie_name, "")):
            return await handler(request)
        if request.method == "POST" or request.path == "/style.css":  # the sign-in, and the look of its page
            return await handler(request)
        if request.path != "/":
            return web.Response(status=401, text="a token is required: open this viewer's start page\n")
        if token := request.query.get("token", ""):
            return await self._accept_token(token)
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
        page = web.WebSocketResponse(heartbeat=15.0, compress=False, max_msg_size=MAX_MESSAGE_BYTES)
        await page.prepare(request)
        await self._hub.run_session(page)
        return page


async def _send_file(request: web.Request) -> web.StreamResponse:
    name, kind = FILES[request.path]
    return web.Response(text=_read_page(name), content_type=kind, charset="utf-8")


def _read_page(name: str) -> str:
    return (files("aenet_ros.view") / "page" / name).read_text(encoding="utf-8")


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def serve(source: ViewSource, settings: ViewSettings, title: str) -> None:
    """Print the address, and serve until Ctrl-C or SIGTERM. Raises SourceError if the address cannot be bound."""
    try:
        addresses = socket.getaddrinfo(settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listeners = [socket.create_server(address, family=family) for family, _, _, _, address in addresses]
    except OSError as error:
        raise _cannot_listen(settings, error) from error
    sys.stdout.write(f"{_startup_text(settings, listeners[0].getsockname()[1], title)}\n")
    sys.stdout.flush()
    web.run_app(Server(source, settings).app(), sock=listeners, print=None, access_log=None, shutdown_timeout=1.0)


def _startup_text(settings: ViewSettings, port: int, title: str) -> str:
    """What the terminal shows when the page can be opened: its address with the token, and the ssh command."""
    name = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host
    name = f"[{name}]" if ":" in name else name
    token = f"?token={settings.token}" if settings.token else ""
    if is_local(settings.host):
        note = f"from another machine: ssh -L {port}:{name}:{port} THIS_MACHINE, then open the same address there"
    else:
        note = "anyone with this address and token can view and change parameters; the connection is not encrypted"
    return f"showing {title}: http://{name}:{port}/{token}\n{note}\nCtrl-C stops it"


def _cannot_listen(settings: ViewSettings, error: OSError) -> SourceError:
    where = f"port {settings.port} of {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return SourceError(f"{where} is in use, perhaps by another `aenet view`: give another --port, or --port 0 for any free one")
    if error.errno == errno.EADDRNOTAVAIL or error.errno is None or error.errno < 0:
        return SourceError(f"--host {settings.host} is not an address of this machine: give 127.0.0.1, or 0.0.0.0 for all addresses")
    return SourceError(f"cannot listen on {where}: {error.strerror}; give another --port above 1023")
