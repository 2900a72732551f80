"""What stands before the page: who may ask, for what, and how much they may send."""

import ipaddress
import re
import shutil
import socket
import time
from collections import deque
from collections.abc import Collection
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
"""Paths that the page, and scripts that use it, ask for. All others of gradio's are closed, such as
`process_recording`, which runs ffmpeg, `proxy=`, `stream` and `monitoring`."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

MAX_BODY = 1 << 20
"""Bytes of a request that is no upload (our choice: a press on the button has under 10 kB)."""

SPARE_BYTES = 1 << 30
"""Free space that uploads leave on the disk (our choice)."""


@dataclass(frozen=True)
class Limits:
    """What visitors may take up; all of it our choice.

    Attributes:
        queue: Videos that wait or are read.
        job_s: Seconds for which a video is read and drawn.
        file_bytes: Bytes of one upload.
        visitor_bytes: Bytes that one address may upload in `keep_s`.
        total_bytes: Bytes of all uploads and of what was made of them.
        keep_s: Seconds for which a video and what was made of it are kept: time enough to download
            it all.
    """

    queue: int = 20
    job_s: float = 900.0
    file_bytes: int = 500_000_000
    visitor_bytes: int = 2_000_000_000
    total_bytes: int = 10_000_000_000
    keep_s: float = 3600.0


class Guard:
    """Passes requests on to the page, or refuses them in one line.

    A page that is open in a browser can be asked by others that are: by their own address, once its
    name leads here (DNS rebinding), or across sites. So the `Host` must be this machine's, and the
    `Origin`, where one is sent, the same.

    Args:
        app: The page.
        host: Address that it listens at.
        folder: Where uploads and what is made of them lie.
        limits: What visitors may take up.
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
        if scope["type"] != "http":  # the page uses no other
            return
        status, said = self._judge(scope)
        if status:
            await PlainTextResponse(said, status)(scope, receive, send)
            return
        length = int(Headers(scope=scope).get("content-length", 0))
        self._arriving += length
        try:
            await self._app(scope, receive, send)
        finally:
            self._arriving -= length

    def _judge(self, scope: Scope) -> tuple[int, str]:
        """Return a status and a line of why a request is refused; 0 where it is not."""
        headers = Headers(scope=scope)
        if not self._knows(headers.get("host", "")):
            return 403, "the page has another address; open the one that dfer printed"
        if not _is_same_site(headers):
            return 403, "another page may not ask this one"
        path = scope["path"]
        if not OPEN.fullmatch(path):
            return 403, "closed: the page does not use it"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return 0, ""
        length = headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            return 411, "say how long the request is"
        if path.endswith("/upload"):
            return self._judge_upload((scope.get("client") or ("", 0))[0], int(length))
        return (413, "the request is too long") if int(length) > MAX_BODY else (0, "")

    def _judge_upload(self, visitor: str, length: int) -> tuple[int, str]:
        """Judge an upload, and count it where it may come."""
        limits, now_s = self._limits, time.monotonic()
        while self._uploads and now_s - self._uploads[0][0] > limits.keep_s:
            self._uploads.popleft()
        if length > limits.file_bytes + MAX_BODY:  # around a file are some headers
            return 413, f"the file exceeds the maximum allowed size of {limits.file_bytes:,} bytes"
        sent = sum(size for _, address, size in self._uploads if address == visitor)
        if sent + length > limits.visitor_bytes:
            return 429, "you have sent as much as one visitor may; come again in an hour"
        used = measure_folder(self._folder) + self._arriving + length
        free = shutil.disk_usage(self._folder).free - self._arriving - length
        if used > limits.total_bytes or free < SPARE_BYTES:
            return 507, "the page has no room for more videos now; come again later"
        self._uploads.append((now_s, visitor, length))
        return 0, ""

    def _knows(self, host: str) -> bool:
        """Return whether a `Host` header names this machine; on all interfaces any address does."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def _is_same_site(headers: Headers) -> bool:
    """Return whether a request comes from the page itself, or is a navigation to it."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == headers.get("host")
    is_cross = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    return not is_cross or headers.get("sec-fetch-mode") == "navigate"


def find_names(host: str) -> Collection[str]:
    """Return the names by which a browser may know this machine, in small letters."""
    names = {*LOOPBACK, host.lower()}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local", socket.getfqdn().lower()}
    return names


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(name: str) -> bool:
    """Return whether a name is a numeric address, which DNS rebinding cannot redirect."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def measure_folder(folder: Path) -> int:
    """Return the total size in bytes of the files below a folder; files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
