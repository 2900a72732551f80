"""Access control of the page: allowed hosts, origins and paths, and limits on uploads."""

import ipaddress
import re
import shutil
import socket
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = re.compile(
    r"/(gradio_api/)?(|config/?|info/?|theme\.css|app_id/?|startup-events|login_check/?|login"
    r"|logout|token/?|user/?|upload|upload_progress|queue/(join|data)|cancel|reset/?"
    r"|heartbeat/[^/]+|run/[^/]+|call/[^/]+(/[^/]+)?|file=(?!\w+:).+|(static|assets|svelte)/.+"
    r"|favicon\.ico|manifest\.json|robots\.txt)"
)
"""Paths that the page and its API clients request. All other paths of gradio are closed, such as
`process_recording`, which runs ffmpeg, `proxy=`, `stream` and `monitoring`."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

MAX_BODY = 1 << 20
"""Maximum size of other requests than uploads (our choice: the button sends less than 10 kB)."""

SPARE_BYTES = 1 << 30
"""Disk space that uploads must leave free (our choice)."""


@dataclass(frozen=True)
class Limits:
    """Limits on videos and visitors; the values are our choice.

    Attributes:
        queue: Number of videos that are waiting or being read.
        job_s: Time for predicting and drawing one video.
        file_bytes: Size of one upload.
        visitor_bytes: Total size of the uploads of one address within `keep_s`.
        total_bytes: Total size of all uploads and results.
        keep_s: Time until a video and its results are deleted.
    """

    queue: int = 20
    job_s: float = 900.0
    file_bytes: int = 500_000_000
    visitor_bytes: int = 2_000_000_000
    total_bytes: int = 10_000_000_000
    keep_s: float = 3600.0


class Guard:
    """ASGI middleware that passes a request on to the page, or refuses it with one line.

    Other pages in the browser can reach a local server: across sites, or with a host name that
    resolves to this machine (DNS rebinding). Therefore the `Host` header must name this machine,
    and the `Origin` header, if any, must agree with it.

    Args:
        app: The page.
        host: Address that the server listens on.
        folder: Folder of the uploads and results.
        limits: Limits on videos and visitors.
    """

    def __init__(self, app: ASGIApp, host: str, folder: Path, limits: Limits) -> None:
        self._app = app
        self._names = find_names(host)
        self._any_address = not is_loopback(host)
        self._folder = folder
        self._limits = limits
        self._arriving = 0
        self._uploads: deque[tuple[float, str, int]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no websockets
            return
        status, reason = self._check(scope)
        if status:
            await PlainTextResponse(reason, status)(scope, receive, send)
            return
        length = int(Headers(scope=scope).get("content-length", 0))
        self._arriving += length
        try:
            await self._app(scope, receive, send)
        finally:
            self._arriving -= length

    def _check(self, scope: Scope) -> tuple[int, str]:
        """Return the status and reason of a refusal; status 0 accepts the request."""
        headers = Headers(scope=scope)
        if not self._is_own_name(headers.get("host", "")):
            return 403, "wrong address; open the address that dfer printed"
        if not _is_same_site(headers):
            return 403, "requests from other pages are refused"
        path = scope["path"]
        if not OPEN.fullmatch(path):
            return 403, "not available: the page does not use this address"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return 0, ""
        length = headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            return 411, "the request has no valid Content-Length"
        if path.endswith("/upload"):
            return self._check_upload((scope.get("client") or ("", 0))[0], int(length))
        return (413, "the request is too long") if int(length) > MAX_BODY else (0, "")

    def _check_upload(self, visitor: str, length: int) -> tuple[int, str]:
        """Check an upload against the limits, and count it if it is accepted."""
        limits, now_s = self._limits, time.monotonic()
        while self._uploads and now_s - self._uploads[0][0] > limits.keep_s:
            self._uploads.popleft()
        if length > limits.file_bytes + MAX_BODY:  # the body has headers around the file
            return 413, f"the file exceeds the maximum allowed size of {limits.file_bytes:,} bytes"
        sent = sum(size for _, address, size in self._uploads if address == visitor)
        if sent + length > limits.visitor_bytes:
            return 429, "upload limit reached; try again in an hour"
        used = measure_folder(self._folder) + self._arriving + length
        free = shutil.disk_usage(self._folder).free - self._arriving - length
        if used > limits.total_bytes or free < SPARE_BYTES:
            return 507, "no space left for more videos; try again later"
        self._uploads.append((now_s, visitor, length))
        return 0, ""

    def _is_own_name(self, host: str) -> bool:
        """Return whether a `Host` header names this machine, or an address if all are allowed."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or (self._any_address and _parse_address(name) is not None)


def _is_same_site(headers: Headers) -> bool:
    """Return whether a request comes from the page itself or is a navigation to it."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == headers.get("host")
    is_cross = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    return not is_cross or headers.get("sec-fetch-mode") == "navigate"


def find_names(host: str) -> Collection[str]:
    """Return the names that a browser may use for this machine, in lower case."""
    names = {*LOOPBACK, host.lower()}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local", socket.getfqdn().lower()}
    return names


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached only from this machine."""
    address = _parse_address(host)
    return address.is_loopback if address else host == "localhost"


def _parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, which DNS rebinding cannot redirect; None for another name."""
    with suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def measure_folder(folder: Path) -> int:
    """Return the total size in bytes of the files in a folder, ignoring files that are deleted."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
