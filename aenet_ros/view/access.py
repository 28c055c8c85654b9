"""Who may open the page: checks of host, origin and token."""

import hashlib
import hmac
import ipaddress
import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

from aenet_ros.core.errors import ConfigError

LEAST_TOKEN = 12


class Access(NamedTuple):
    """``token`` empty: none is asked for. ``local``: listens on this machine alone."""

    token: str
    local: bool

    @property
    def cookie(self) -> str:
        """What a browser keeps in place of the token; the same after a restart with the same token."""
        return hmac.new(self.token.encode(), b"aenet view", hashlib.sha256).hexdigest()

    @property
    def cookie_name(self) -> str:
        """Its own for each token: browsers do not tell a host's ports apart."""
        return f"aenet_view_{self.cookie[:8]}"

    def token_fits(self, given: str) -> bool:
        """Compared in constant time."""
        return not self.token or hmac.compare_digest(given.encode(), self.token.encode())

    def cookie_fits(self, given: str) -> bool:
        """Compared in constant time."""
        return not self.token or hmac.compare_digest(given.encode(), self.cookie.encode())

    def host_fits(self, host: str) -> bool:
        """Whether a request's Host header may be ours.

        A page of another site can make its own name point to 127.0.0.1 (DNS rebinding), but its requests then bear that name. Where a
        token is asked for, such a page has no cookie; where this machine alone is listened to, only this machine's names are right.
        The port is not looked at, since ssh may forward another one.
        """
        return not self.local or is_local(_name_of(host))

    @staticmethod
    def origin_fits(origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page: browsers send Origin with every WebSocket and every POST."""
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _name_of(host: str) -> str:
    """A Host header without its port; an IPv6 address without its brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host`` (a name or an address)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, given: str) -> str:
    """The token in force: as given, else a new one where other machines can reach ``host``, else none; ConfigError for a weak one."""
    if given:
        if len(given) < LEAST_TOKEN or not given.isascii() or not given.isprintable() or " " in given:
            raise ConfigError(f"--token is too weak or cannot be typed: give at least {LEAST_TOKEN} letters and digits, or leave it out")
        return given
    return "" if is_local(host) else secrets.token_urlsafe(18)
