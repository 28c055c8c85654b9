"""What ``aenet view`` can be told: where to listen, who may look, which topics, how much."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewSettings:
    """The defaults are those of the command line. Topics that are empty are found out; ``token`` empty means that none is needed."""

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
