"""How much of a machine the gateway gives to strangers, and from where it fetches what they name."""

import math
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")  # of a server that only this machine reaches


@dataclass(frozen=True)
class GatewaySettings:
    """Limits of the gateway; what exceeds them is refused with a coded error.

    Attributes:
        api_key: Asked of every request but /health. None: nobody is asked.
        slots: Answers written at the same time.
        queue: Requests that may wait besides; one more is answered 429.
        per_client: How many of both one IP address may have; one more is answered 429. Default: four fifths, rounded
            up, so that others find a place.
        readers: Videos and pictures decoded at the same time, a process each.
        read_timeout_s: For decoding one of them.
        health_timeout_s: For the engine to say that it works when /health is asked. 503
        request_timeout_s: From the end of the body to the end of the answer, waiting included. 504
        max_json_bytes, max_upload_bytes: Of a JSON body, which is held in memory, and of a form, which is not. 413
        header_timeout_s: For a request's head. 408
        send_timeout_s: For a client to take what was sent; then the connection is cut, and its slot is free.
        body_grace_s, body_bytes_per_s: A body may take `body_grace_s` and a second more for so many bytes. 408
        body_head_start_s: As `body_grace_s`, for one that others wait for: a slower one gives its place up. 408
        max_media: Videos and pictures in one request.
        max_frames: Frames of one video.
        max_pixels: Of one picture.
        media_domains: Hosts that https addresses may name, exactly, as `host` (port 443) or `host:port`; none by
            default.
        media_networks: Networks that such a host may be in although they are not public.
        media_timeout_s, max_media_bytes: For fetching one file.
        allow_origins: Web pages of these origins may call the server from a browser; none by default. "*": any.
        hosts: Host names by which the server answers; keeps web pages from reaching a local server under their own
            name. "*": any.
    Raises:
        ValueError: If a number is not positive (`queue` may be 0).
    """

    api_key: str | None = None
    slots: int = 8
    queue: int = 50
    per_client: int | None = None
    readers: int = 2
    read_timeout_s: float = 60.0
    health_timeout_s: float = 5.0
    request_timeout_s: float = 300.0
    max_json_bytes: int = 32 << 20
    max_upload_bytes: int = 256 << 20
    header_timeout_s: float = 10.0
    send_timeout_s: float = 30.0
    body_grace_s: float = 20.0
    body_bytes_per_s: float = 32 << 10
    body_head_start_s: float = 2.0
    max_media: int = 4
    max_frames: int = 64
    max_pixels: int = 36_000_000
    media_domains: tuple[str, ...] = ()
    media_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    media_timeout_s: float = 30.0
    max_media_bytes: int = 256 << 20
    allow_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if self.per_client is None:
            object.__setattr__(self, "per_client", math.ceil((self.slots + self.queue) * 0.8))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value + (field.name == "queue") < math.inf:
                raise ValueError(f"{field.name} is {value!r}; it must be > 0.")
