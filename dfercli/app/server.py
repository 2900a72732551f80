"""The page on a port of this machine."""

import logging
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dfercli.app.examine import Examiner
from dfercli.app.narrow import STYLE as NARROW_STYLE
from dfercli.app.words import STYLE
from dfercli.errors import ConfigError
from dfercli.files import scratch_folder

if TYPE_CHECKING:
    from dfercli.app.guard import Limits

PREFIX = "dfer-app-"
"""How the folder of a page is named."""

USER = "dfer"
"""Whose password it is that opens the page."""

SWEEP_S = 60
"""Seconds from one look for old files to the next (our choice)."""

UPLOADS = "GRADIO_TEMP_DIR"
"""Environment variable that tells gradio where to keep files."""


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at, before a model is loaded.

    Raises:
        ConfigError: Another program listens there, or this machine has no such address.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ConfigError(f"no address {host!r}; give --host 127.0.0.1 or 0.0.0.0") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(
                f"cannot listen at {host}, port {port}: {why}; give another with --port"
            ) from error


class Server:
    """A page that is served by a thread of its own, until it is closed.

    Its files have a folder of their own. Old ones are deleted here, since gradio's `delete_cache`
    deletes uploads alone and forgets what a handler gave back; the rest goes with the server.

    Args:
        examiner: Does what the page's button does.
        host: Address that is listened at.
        port: Its port.
        password: Opens the page, to a user named `dfer`; None opens it to all who reach it.
        limits: What visitors may take up.

    Raises:
        ConfigError: Nothing can be served there.
    """

    def __init__(
        self,
        examiner: Examiner,
        host: str,
        port: int,
        password: str | None = None,
        limits: "Limits | None" = None,
    ) -> None:
        self._examiner = examiner
        self._before = os.environ.get(UPLOADS)
        self._stack = ExitStack()
        parent = Path(self._before) if self._before else None
        self._folder = self._stack.enter_context(scratch_folder(PREFIX, parent))
        self._files = self._folder / "files"
        self._files.mkdir()
        os.environ[UPLOADS] = str(self._files)  # gradio reads it as it is imported

        import gradio as gr
        from starlette.middleware import Middleware

        from dfercli.app.guard import Guard, Limits
        from dfercli.app.page import Page

        limits = limits or Limits()
        self._blocks = Page(examiner, limits, self._folder).blocks
        guard = Middleware(Guard, host=host, folder=self._folder, limits=limits)
        _reach_without_proxy("127.0.0.1", "localhost", host)
        try:
            # All that is off here is on by default, or can be turned on from the environment.
            _, self.url, _ = self._blocks.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                inline=False,
                inbrowser=False,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                run_history=False,
                enable_monitoring=False,
                footer_links=[],
                allowed_paths=[],
                max_file_size=limits.file_bytes,
                app_kwargs={"middleware": [guard]},
                auth=None if password is None else (USER, password),
                theme=gr.themes.Default(
                    primary_hue="teal",
                    secondary_hue="teal",
                    font=("system-ui", "sans-serif"),
                    font_mono=("ui-monospace", "monospace"),
                ),
                css=STYLE + NARROW_STYLE,
            )
        except OSError as error:
            self._delete_all()
            raise ConfigError(f"cannot listen at {host}, port {port}; give --port") from error
        self._closed = threading.Event()
        threading.Thread(target=self._sweep, args=[limits.keep_s], daemon=True).start()

    def wait(self) -> None:
        """Wait for Ctrl-C."""
        threading.Event().wait()

    def close(self) -> None:
        """Stop what is being examined, and listen no more."""
        self._examiner.end()
        self._closed.set()
        # Open pages would listen for many seconds; that they are cut off is no news.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._blocks.server.force_exit = True
        self._blocks.close(verbose=False)
        self._delete_all()

    def _sweep(self, keep_s: float) -> None:
        while not self._closed.wait(SWEEP_S):
            delete_old(self._files, keep_s)

    def _delete_all(self) -> None:
        self._stack.close()
        if self._before is None:
            del os.environ[UPLOADS]
        else:
            os.environ[UPLOADS] = self._before


def delete_old(folder: Path, keep_s: float) -> None:
    """Delete the files below a folder that came, or were used, longer ago than this."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and time.time() - path.stat().st_ctime > keep_s:
                path.unlink()


def _reach_without_proxy(*hosts: str) -> None:
    """Have gradio, which asks its own page whether it is there, not ask a proxy for it."""
    set_before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (set_before, *hosts)))
