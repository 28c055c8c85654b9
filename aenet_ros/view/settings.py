"""Settings of the viewer, and the checks of host, origin and token that decide who may open the page."""

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from aenet_ros.core.errors import ConfigError

MIN_TOKEN_LENGTH = 12


@dataclass(frozen=True)
class ViewSettings:
    """The options of `aenet view` and their defaults. An empty topic is found automatically; an empty token means that none is required."""

    host: str = "127.0.0.1"
    port: int = 8470
    token: str = ""
    node: str = "fusion"
    namespace: str = ""
    fused_topic: str = ""
    rgb_topic: str = ""
    thermal_topic: str = ""
    max_hz: float = 30.0
    quality: int = 80


class Access:
    """Checks of a request. ``token``: the required token, or empty. ``local``: the server listens on this machine only.

    The browser keeps ``cookie`` instead of the token. It stays valid over restarts with the same token. ``cookie_name`` depends on the
    token, because browsers send cookies of a host to all of its ports.
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
        """Whether a request's Host header may name this server. Protects against DNS rebinding.

        A foreign site can let its own name resolve to 127.0.0.1, but its requests then carry that name. A local server accepts only names
        of this machine; any other server requires the cookie, which such a site does not have. The port is not compared, because ssh may
        forward another one.
        """
        return not self._local or is_local(_without_port(host))

    @staticmethod
    def origin_allowed(origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page. Browsers send Origin with every WebSocket and every POST."""
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _without_port(host: str) -> str:
    """A Host header without its port; an IPv6 address without its brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether a server that listens on ``host`` (a name or an address) can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, given: str) -> str:
    """The given token; else a new one if other machines can reach ``host``, else none. Raises ConfigError for a weak token."""
    if given:
        if len(given) < MIN_TOKEN_LENGTH or not given.isascii() or not given.isprintable() or " " in given:
            raise ConfigError(
                f"--token is too weak: use at least {MIN_TOKEN_LENGTH} ASCII characters without spaces, or omit it to have one generated"
            )
        return given
    return "" if is_local(host) else secrets.token_urlsafe(18)
