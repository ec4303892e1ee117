"""A listener as a process of its own, to be killed: ``python -m tests.capture.listener_process SPOOL`` prints its address."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from archiver.capture.listener import listener_app
from archiver.capture.listener_server import ListenerServer
from archiver.clock import SystemClock
from archiver.spool.group_commit import GroupCommitter
from archiver.spool.sqlite import SqliteSpool
from tests.capture.running_listener import OPTIONS


def main(spool_path: Path) -> None:
    with contextlib.closing(SqliteSpool(spool_path)) as spool:
        app = listener_app(OPTIONS, committer=GroupCommitter(spool), clock=SystemClock())
        ListenerServer(app, host="127.0.0.1", port=0).run(announce=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
