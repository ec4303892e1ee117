"""A Flock that answers as quickly as Python can: the methods that a run asks, over real HTTP, with messages that follow from their uids.

    python benchmarks/sides/quick_flock.py [--file-bytes 65536] [--wanted 40000]

It checks nothing and forgets nothing, because it knows nothing: it is here so that a benchmark measures who asks and not who answers.
The simulator stays what is right. Every ``/files/…`` is a file of so many bytes. It prints one JSON document, as `simulated_flock.py`
does, and runs until standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
from typing import Any, cast
from urllib.parse import parse_qs

import team
import uvloop

_FIRST_MS = 1_795_608_000_000  # a noon, so that a night's messages are of two days
_BYTES = random.Random(3).randbytes(4 * 1024 * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file-bytes", type=int, default=65_536)
    parser.add_argument("--wanted", type=int, default=0, help="tell of so many messages that can be fetched")
    given = parser.parse_args()
    uvloop.run(serve(given.file_bytes, wanted=given.wanted))


async def serve(file_bytes: int, *, wanted: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(file_bytes), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    facts = {"base_url": f"http://127.0.0.1:{port}/v1", "tokens": dict(team.TOKENS), "wanted": _wanted(wanted)}
    print(json.dumps(facts), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def _wanted(count: int) -> list[dict[str, Any]]:
    uids: dict[str, list[str]] = {}
    for _, chat, uid in team.night(_FIRST_MS, messages=count) if count else ():
        uids.setdefault(chat, []).append(uid)
    users = itertools.cycle(team.TOKENS)
    return [{"chat": chat, "user": next(users), "uids": of_chat} for chat, of_chat in uids.items()]


class _Connection(asyncio.Protocol):
    """One connection that is kept alive; requests come one after the other, as clients without pipelining send them."""

    def __init__(self, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go to."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is whole."""
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields.get(b"content-length", b"0")):
            return
        self._received = b""
        target = head.split(b" ", 2)[1].decode()
        if target.startswith("/files/"):
            self._answer(_file(target, self._file_bytes), "application/octet-stream")
            return
        parameters = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self._answer(_METHODS[target.removeprefix("/v1/")](parameters).encode(), "application/json")

    def _answer(self, body: bytes, kind: str) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _file(target: str, size: int) -> bytes:
    """Return bytes that no other file has."""
    name = target.encode()
    return name + _BYTES[: max(0, size - len(name))]


def _fetch(parameters: dict[str, str]) -> str:
    chat = parameters["chat"]
    return "[" + ",".join(team.message(chat, uid) for uid in json.loads(parameters["uids"])) + "]"


def _profile(user: str) -> dict[str, str]:
    return {"id": user, "firstName": f"First {user[2:6]}", "lastName": f"Last {user[6:10]}"}


def _own(parameters: dict[str, str]) -> str:
    user = next(user for user, token in team.TOKENS.items() if token == parameters["token"])
    return json.dumps(
        {**_profile(user), "teamId": "t1", "email": "a@example.com", "role": "user", "timezone": "+00:00"}
    )


_CHANNELS = json.dumps(
    [{"id": name, "name": f"Channel {name[2:8]}", "memberCount": team.PEOPLE_COUNT} for name in team.CHANNELS]
)
_MEMBERS = json.dumps(
    [{"userId": user, "affiliation": "member", "publicProfile": _profile(user)} for user in team.PEOPLE]
)
_CONTACTS = json.dumps([_profile(user) for user in team.PEOPLE])
_METHODS = {
    "channels.list": lambda _: _CHANNELS,
    "channels.listMembers": lambda _: _MEMBERS,
    "chat.fetchMessages": _fetch,
    "roster.listContacts": lambda _: _CONTACTS,
    "users.getInfo": _own,
    "users.getPublicProfile": lambda parameters: json.dumps(_profile(parameters["userId"])),
}


if __name__ == "__main__":
    main()
