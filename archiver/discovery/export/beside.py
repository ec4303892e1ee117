"""A process beside this one that does one thing: it is sent what it needs, and ends when this one does.

It is sent pickles through a pair of sockets that nobody else has. What goes wrong there is raised here.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from archiver.errors import RefusedError

_ENDS_SECONDS: Final = 10


class Beside:
    """A process that runs ``serve(connection, order)``: begun at once, and ended when the block ends, whatever it is doing.

    ``serve`` is a function of a module, and tells by pairs of a kind, a text, and whatever belongs to it. ``called`` is for who reads
    what went wrong. Raises `OSError` if none can be begun.
    """

    def __init__(self, serve: Callable[[Connection, Any], None], order: object, *, called: str) -> None:
        self._called = called
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from archiver.archive.memory import use_system_allocator; "
                f"use_system_allocator(); from {__name__} import main; main({number})"
            )
            # A group of its own: who interrupts the first process ends it, and it ends this one.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", code],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        self.send((serve, order))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End it, whatever it is doing; harmless when it is ended."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def send(self, message: object) -> None:
        """Send it one thing more; raises `RefusedError` if it is gone."""
        try:
            self._connection.send(message)
        except OSError:
            raise self._ended() from None

    def received(self) -> tuple[str, Any]:
        """Wait for what it tells next; raises what went wrong there, and `RefusedError` if it is gone."""
        try:
            kind, found = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if kind == "error":
            raise found
        return kind, found

    def has_told(self) -> bool:
        """Tell whether anything can be received without waiting."""
        try:
            return self._connection.poll()
        except OSError:
            raise self._ended() from None

    def _ended(self) -> RefusedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_SECONDS)
        code = self._process.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return RefusedError(
            f"the {self._called} process of the export was ended {how}",
            next_step="give the same command again: it goes on where it stopped; if nobody ended it, this machine has too little memory",
        )


def main(number: int) -> None:
    """Be such a process: do what the first one says through the socket of this number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(number) as connection:
        try:
            serve, order = connection.recv()
            serve(connection, order)
        except BaseException as error:  # noqa: BLE001 - it goes on in the first process
            # If that is gone, nobody wants to know.
            with contextlib.suppress(OSError):
                connection.send(("error", _portable(error)))


def _portable(error: BaseException) -> BaseException:
    """Return an error that can be sent, with where it came from."""
    where = "".join(traceback.format_exception(error))
    error.add_note(f"in another process of the export:\n{where}")
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
