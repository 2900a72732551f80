"""Imported only by the server that workers are forked from: it ends at once and leaves no files.

A parent that is killed cannot remove the server's socket, and Python would take half a second to
release the server's modules.
"""

import atexit
import os
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path


def remove_socket(server: int) -> None:
    """End the server with this process id: remove its socket and the folder of the socket."""
    if os.getpid() != server:  # a worker
        return
    socket = Path(vars(forkserver._forkserver)["_forkserver_address"])
    with suppress(OSError):  # the parent has removed both
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()
    os._exit(0)


atexit.register(remove_socket, os.getpid())
