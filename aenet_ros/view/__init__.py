"""The web page of `aenet view` and its server. Here: the settings, and which of them need a token."""

import ipaddress
import secrets
from dataclasses import dataclass

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
