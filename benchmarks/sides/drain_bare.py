"""One side of `drain.py`: the least a script can do: decode with msgspec, write the same columns with pyarrow."""

from __future__ import annotations

import json
import shutil
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.schema import MESSAGES

ROWS_PER_FILE = 50_000
DIGESTS = ("raw_digest", "content_digest")


class Message(msgspec.Struct, gc=False, rename="camel"):
    """A message with the types that a script would expect."""

    uid: str
    from_: str = msgspec.field(name="from")
    to: str
    timestamp_in_millis: int
    id: str | None = None
    text: str = ""
    flockml: str | None = None
    notification: str | None = None
    app_id: str | None = None
    mentions: list[str] | None = None
    send_as: dict[str, str] | None = None
    attachments: list[Any] | None = None
    on_behalf_of: str | None = None
    visible_to: list[str] | None = None


def main(lines: Path, folder: Path, *, digests: bool) -> None:
    bodies = lines.read_bytes().splitlines()
    schema = MESSAGES.schema
    if not digests:
        schema = pa.schema([field for field in schema if field.name not in DIGESTS])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    decode = msgspec.json.Decoder(Message).decode
    started = time.perf_counter()
    for number, start in enumerate(range(0, len(bodies), ROWS_PER_FILE)):
        chunk = bodies[start : start + ROWS_PER_FILE]
        columns = columns_of([decode(body) for body in chunk], chunk, digests=digests)
        table = pa.table([pa.array(columns[field.name], type=field.type) for field in schema], schema=schema)
        pq.write_table(
            table,
            folder / f"{number}.parquet",
            compression="zstd",
            compression_level=3,
            use_dictionary=["chat_id", "sender_id"],
        )
    print(json.dumps({"seconds": time.perf_counter() - started}))


def columns_of(messages: list[Message], bodies: list[bytes], *, digests: bool) -> dict[str, Any]:
    count = len(messages)
    columns: dict[str, Any] = {
        "chat_id": [message.to for message in messages],
        "chat_kind": pa.repeat("channel", count),
        "message_uid": [message.uid for message in messages],
        "version": pa.repeat(1, count).cast(pa.int32()),
        "sent_at": [message.timestamp_in_millis for message in messages],
        "sent_at_basis": pa.repeat("timestampInMillis", count),
        "observed_at": [message.timestamp_in_millis for message in messages],
        "source": pa.repeat("webhook", count),
        "captured_by": pa.repeat("general", count),
        "sender_id": [message.from_ for message in messages],
        "sender_name": pa.nulls(count, pa.string()),
        "send_as_name": [message.send_as["name"] if message.send_as else None for message in messages],
        "on_behalf_of": [message.on_behalf_of or None for message in messages],
        "app_id": [message.app_id for message in messages],
        "text": [message.text for message in messages],
        "flockml": [message.flockml for message in messages],
        "notification": [message.notification for message in messages],
        "plain_text": [message.flockml or message.text for message in messages],
        "mentions": [message.mentions for message in messages],
        "visible_to": [message.visible_to or None for message in messages],
        "attachments": pa.nulls(count, pa.string()),
        "blob_digests": pa.nulls(count, MESSAGES.schema.field("blob_digests").type),
        "client_id": [message.id for message in messages],
        "raw": [body.decode() for body in bodies],
        "supersedes": pa.nulls(count, pa.string()),
    }
    if digests:
        columns["raw_digest"] = [sha256(body).hexdigest() for body in bodies]
        columns["content_digest"] = [sha256(message.text.encode()).hexdigest() for message in messages]
    return columns


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), digests=sys.argv[3] == "digests")
