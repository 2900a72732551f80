"""The web server of the page."""

import logging
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dfercli.app.examine import Examiner
from dfercli.errors import ConfigError
from dfercli.files import scratch_folder

if TYPE_CHECKING:
    from dfercli.app.guard import Limits

FOLDER_PREFIX = "dfer-app-"
"""Prefix of the server's temporary folder."""

USER = "dfer"
"""User name that belongs to the password."""

SWEEP_S = 60
"""Seconds between two deletions of old files (our choice)."""

UPLOADS = "GRADIO_TEMP_DIR"
"""Environment variable with gradio's folder for files."""


def check_address(host: str, port: int) -> None:
    """Check that a server can listen on an address.

    Raises:
        ConfigError: Another program uses the address, or this machine does not have it.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ConfigError(f"unknown address {host!r}; use --host 127.0.0.1 or 0.0.0.0") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(
                f"cannot listen on {host}, port {port}: {why}; choose another port with --port"
            ) from error


class Server:
    """Serves the page from a thread, until `close` is called.

    Files are in a temporary folder, which `close` deletes. Old files are deleted here, because
    gradio's `delete_cache` covers only uploads, not results.

    Args:
        examiner: Predicts the videos.
        host: Address to listen on.
        port: Port to listen on.
        password: Password of the user `dfer`; None for no password.
        limits: Limits on videos and visitors; None for the defaults.

    Raises:
        ConfigError: The server cannot listen on the address.
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
        self._stack = ExitStack()
        before = os.environ.get(UPLOADS)
        self._stack.callback(_set_variable, UPLOADS, before)
        parent = Path(before) if before else None
        self._folder = self._stack.enter_context(scratch_folder(FOLDER_PREFIX, parent))
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
        _bypass_proxy("127.0.0.1", "localhost", host)
        try:
            # Features that are off here are on by default, or can be enabled by the environment.
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
                css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
            )
        except OSError as error:
            self._stack.close()
            raise ConfigError(
                f"cannot listen on {host}, port {port}; choose another port with --port"
            ) from error
        self._closed = threading.Event()
        threading.Thread(target=self._sweep, args=[limits.keep_s], daemon=True).start()

    def wait(self) -> None:
        """Wait for Ctrl-C."""
        threading.Event().wait()

    def close(self) -> None:
        """Stop the video being read, and stop listening."""
        self._examiner.end()
        self._closed.set()
        # Open pages would keep the server alive for seconds; uvicorn reports cutting them off.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._blocks.server.force_exit = True
        self._blocks.close(verbose=False)
        self._stack.close()

    def _sweep(self, keep_s: float) -> None:
        while not self._closed.wait(SWEEP_S):
            delete_old(self._files, keep_s)


def delete_old(folder: Path, keep_s: float) -> None:
    """Delete the files in a folder that were last written or used more than `keep_s` ago."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and time.time() - path.stat().st_ctime > keep_s:
                path.unlink()


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _bypass_proxy(*hosts: str) -> None:
    """Exclude hosts from proxies, because gradio requests its own page to check that it runs."""
    set_before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (set_before, *hosts)))
