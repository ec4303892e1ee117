"""What `archiver webhooks plan --write` writes: a file for each person who is asked, and one for the tokens.

The addresses in them hold the path secret, which is printed nowhere. So the folder is new, and nobody else can read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.capture.webhook_plan import WEBHOOKS_PER_USER_MAX, person_name
from archiver.cli.output import printable
from archiver.errors import RefusedError, StorageError
from archiver.run.webhooks import PATH_SECRET_PLACE

if TYPE_CHECKING:
    from archiver.run.webhooks import PersonToAsk

TOKENS_FILE = "webhook_tokens.json"

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600

_LETTER = """\
Outgoing webhooks for the archive, to be made by {name}

Flock lets a user make {most} outgoing webhooks, each of one channel. Make the {count} below in Flock's developer dashboard
(https://dev.flock.com, Webhooks): choose the channel, give the name, and paste the callback URL as it is, without anything
after it. Flock then shows a token for each; give the tokens to whoever runs the archive, with the names beside them.

The URLs are secret: with a URL and its token, messages can be put into the archive. Delete this file when you are done.
"""
_ENTRY = """
{number}. Channel       {channel}
    Name          {webhook}
    Callback URL  {url}
    Token         ........................................
"""


def write(folder: Path, people: Sequence[PersonToAsk], *, path_secret: str) -> list[Path]:
    """Write the files into a folder that is not there or empty; return their paths.

    Raises `RefusedError` if something stands there, `StorageError` if it cannot be written.
    """
    files = {f"{person_name(person.user_id, person.user_name)}.txt": _letter(person, path_secret) for person in people}
    names = [order.webhook for person in people for order in person.orders]
    # A token that is left empty is refused when it is read, so nobody takes it for one.
    files[TOKENS_FILE] = json.dumps(dict.fromkeys(names, ""), indent=1) + "\n"
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise RefusedError(f"{folder} is not empty", next_step="name a new folder; nothing was written")
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        folder.chmod(_FOLDER_MODE)
        for name, text in files.items():
            _create(folder / name, text)
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return [(folder / name).absolute() for name in files]


def _letter(person: PersonToAsk, path_secret: str) -> str:
    name = _one_line(person.user_name, person.user_id)
    text = _LETTER.format(name=name, most=WEBHOOKS_PER_USER_MAX, count=len(person.orders))
    return text + "".join(
        _ENTRY.format(
            number=f"{number:>2}",
            channel=_one_line(order.channel_name, order.channel_id),
            webhook=order.webhook,
            url=order.callback_url.replace(PATH_SECRET_PLACE, path_secret),
        )
        for number, order in enumerate(person.orders, 1)
    )


def _one_line(name: str | None, identifier: str) -> str:
    """Return a name from Flock with its id, in one line whatever is in it: nobody may be told to make something else."""
    text = f"{name} ({identifier})" if name else identifier
    return printable(" ".join(text.split()))


def _create(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
