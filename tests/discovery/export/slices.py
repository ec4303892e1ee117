"""Slices as an export hands them to its writers, made by hand: what each writer must put, keep apart and make harmless."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import msgspec

from archiver.clock import to_ms
from archiver.discovery.checks.findings import FormatFacts, PackageFacts
from archiver.discovery.export.record import Conversation, File, GapNote, Message, Person, Slice, Terms, Version
from archiver.discovery.export.sink import Written

# What every value of the outside may be: markup, a formula, a path, control characters, text that runs backwards, a delimiter of load files.
HOSTILE_TEXT = "<script>alert(1)</script> =cmd|'/c calc'!A1 \x1b[31m ../../etc/passwd þ®\x14 \u202egnp.exe & \"quoted\", 'so'; \r\n.\n"
HOSTILE_NAME = '../../<img src=x onerror="alert(1)">.txt'
FORMULA = '=HYPERLINK("http://evil.example","click")'

ANN = Person("u:ann", "Ann Áslaug", "ann@acme.example")
BOB = Person("u:bob", None, None)
KENJI = Person("u:kenji", "田中 健二", "kenji@acme.example")
MALLORY = Person("u:mal", HOSTILE_TEXT, '"mal, \n"@acme.example')
BOT = Person("u:Bot00000000000", "Reminders", is_bot=True)

GENERAL = Conversation("g:general", "channel", "general", (ANN, BOB, KENJI), (ANN,), "general")
EVIL = Conversation("g:evil", "channel", HOSTILE_NAME, (ANN, MALLORY), (), "_img_src_x_onerror_alert_1_.txt-1")
DIRECT = Conversation("u:ann,u:kenji", "direct", None, (ANN, KENJI), (ANN,), "Ann-田中-健二")

BLOBS = {
    "minutes": b"the minutes of the meeting\n",
    "picture": bytes.fromhex(  # one black pixel, PNG
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
    ),
}


def at_ms(day: int, hour: int = 12, minute: int = 0) -> int:
    return to_ms(datetime(2026, 11, day, hour, minute, tzinfo=UTC))


def version(text: str, number: int = 1, *, observed_at_ms: int = 0, **further: Any) -> Version:
    raw = further.pop("raw", '{"text":"…"}')
    return Version(
        number=number,
        observed_at_ms=observed_at_ms or at_ms(20),
        text=text,
        source="webhook",
        captured_by="general",
        content_digest=sha256(text.encode()).hexdigest(),
        raw_digest=sha256((raw or "").encode()).hexdigest(),
        raw=raw,
        object_key="messages/dt=2026-11-20/000000000001-0.parquet",
        commit=1,
        **further,
    )


def stored(name: str, of: str, number: str, *, ordinal: int = 0, **further: Any) -> File:
    data = BLOBS[of]
    digest = sha256(data).hexdigest()
    return File(
        ordinal=ordinal,
        name=name,
        control_number=number,
        kind="download",
        size=len(data),
        sha256=digest,
        md5=md5(data).hexdigest(),
        path=f"natives/{digest[:2]}/{digest}-{further.get('path_name', 'minutes.txt')}",
        **{"mime": "text/plain", "path_name": "minutes.txt", **further},
    )


def message(uid: str, day: int, sender: Person, *versions: Version, **further: Any) -> Message:
    return Message(
        chat_id=further.pop("chat_id", GENERAL.chat_id),
        message_uid=uid,
        control_number=further.pop("control_number", f"SMITH-{uid}"),
        sent_at_ms=further.pop("sent_at_ms", at_ms(day)),
        sent_at_basis="timestampInMillis",
        sender=sender,
        versions=versions,
        **further,
    )


OUTAGE = GapNote(
    "9f" * 32, "listener-down", "the listener did not answer from 10:00 to 11:00", 1, at_ms(20, 10), at_ms(20, 11)
)
MISSING_FILE = GapNote(
    "aa" * 32, "export:file-not-stored", "1 file is not in the archive", 1, at_ms(20, 13), at_ms(20, 13), "m-5"
)

PLAIN = message("m-1", 20, ANN, version("Good morning, everybody"))
EDITED = message(
    "m-2",
    20,
    BOB,
    version("the price is 10", 1, observed_at_ms=at_ms(20, 12, 1)),
    version("the price is 12", 2, observed_at_ms=at_ms(20, 18)),
    version(
        "the price is <b>14</b>", 3, observed_at_ms=at_ms(21, 2), flockml="<flockml>the price is <b>14</b></flockml>"
    ),
    sent_at_ms=at_ms(20, 12, 1),
    reply_to="m-1",
)
NOT_RETURNED = message(
    "m-3",
    20,
    KENJI,
    version("それは間違いでした 🙇 消してください"),
    sent_at_ms=at_ms(20, 12, 2),
    not_returned_since_ms=at_ms(25),
)
WITH_FILE = message(
    "m-4",
    20,
    ANN,
    version("the minutes", attachments='[{"downloads":[{"filename":"minutes.txt"}]}]', mentions=("u:bob",)),
    sent_at_ms=at_ms(20, 13),
    files=(
        stored("minutes.txt", "minutes", "SMITH-m-4.001"),
        stored(
            "写真 1.png",
            "picture",
            "SMITH-m-4.002",
            ordinal=1,
            mime="image/png",
            path_name="写真_1.png",
        ),
    ),
)
WITH_MISSING_FILE = message(
    "m-5",
    20,
    KENJI,
    version("契約書を添付します。"),
    sent_at_ms=at_ms(20, 14),
    files=(
        File(
            0,
            "契約書.pdf",
            "SMITH-m-5.001",
            "download",
            "application/pdf",
            12_345,
            status="given_up",
            reason="404 Not Found",
        ),
    ),
)
BOT_POST = message(
    "m-6",
    20,
    BOT,
    version("stand-up in 5 minutes", notification="stand-up"),
    sent_at_ms=at_ms(20, 14, 30),
    send_as_name="Stand-up",
    on_behalf_of=ANN,
    app_id="app-1",
    visible_to=(ANN, BOB),
)
CONTEXT = message("m-7", 21, BOB, version("see you tomorrow"), is_context=True)
HOSTILE = message(
    "m-8/../<x>",
    20,
    MALLORY,
    version(HOSTILE_TEXT, 1, flockml="<flockml><script>alert(1)</script></flockml>", raw='{"text":"<script>"}'),
    version(FORMULA, 2, observed_at_ms=at_ms(21)),
    chat_id=EVIL.chat_id,
    send_as_name=HOSTILE_NAME,
    control_number="SMITH-m-8",
    files=(
        stored(HOSTILE_NAME, "minutes", "SMITH-m-8.001", path_name="_img_src_x_onerror_alert_1_.txt"),
        File(1, "con\r\nX-Evil: yes", "SMITH-m-8.002", "download", status="failed", reason="<b>500</b>\r\nX-Evil: yes"),
    ),
)
PRIVATE = message("m-9", 20, ANN, version("二人だけの話"), chat_id=DIRECT.chat_id)
PRIVATE_REPLY = message(
    "m-10",
    20,
    KENJI,
    version("はい\n\nあとで電話します 📞"),
    chat_id=DIRECT.chat_id,
    sent_at_ms=at_ms(20, 12, 5),
    reply_to="m-9",
)

# As an export hands them: sorted by chat, day and part. A day of a channel in two parts, gaps, a day of nothing but context.
SLICES: tuple[Slice, ...] = (
    Slice(EVIL, "2026-11-20", 1, 1, (HOSTILE,)),
    Slice(GENERAL, "2026-11-20", 1, 2, (PLAIN, EDITED, NOT_RETURNED), (OUTAGE,)),
    Slice(GENERAL, "2026-11-20", 2, 2, (WITH_FILE, WITH_MISSING_FILE, BOT_POST), (OUTAGE, MISSING_FILE)),
    Slice(GENERAL, "2026-11-21", 1, 1, (CONTEXT,)),
    Slice(DIRECT, "2026-11-20", 1, 1, (PRIVATE, PRIVATE_REPLY)),
)
MESSAGES = sum(len(part.messages) for part in SLICES)
VERSIONS = sum(len(each.versions) for part in SLICES for each in part.messages)
FILES = sum(len(each.files) for part in SLICES for each in part.messages)
MISSING_FILES = sum(each.path is None for part in SLICES for message in part.messages for each in message.files)


def open_blob(digest: str) -> BinaryIO:
    return io.BytesIO(next(data for data in BLOBS.values() if sha256(data).hexdigest() == digest))


TERMS = Terms(
    matter="smith-v-acme",
    archive_id="0f0f",
    workspace="acme",
    head_sequence=7,
    head_digest="ab" * 32,
    made_at_ms=at_ms(26),
    zone=ZoneInfo("Asia/Tokyo"),
    software="flock-archiver 0.0.0",
    open_blob=open_blob,
    custodians=(ANN,),
    gaps=(OUTAGE,),
)


def redacted() -> tuple[Terms, tuple[Slice, ...]]:
    """The same export with a price made black: without raw, markup and attachments as they were."""

    def black(each: Version) -> Version:
        return msgspec.structs.replace(
            each, text=each.text.replace("price", "█████"), flockml=None, raw=None, attachments=None
        )

    parts = tuple(
        replace(
            part,
            messages=tuple(
                msgspec.structs.replace(
                    each,
                    versions=tuple(map(black, each.versions)),
                    redactions=sum(version.text.count("price") for version in each.versions),
                )
                for each in part.messages
            ),
        )
        for part in SLICES
    )
    return replace(TERMS, is_redacted=True), parts


class FolderSink:
    """A sink over the ``data`` folder of a package; refuses a path that is written twice or leaves the folder."""

    def __init__(self, package: Path) -> None:
        self.data = package / "data"
        self.written: dict[str, int] = {}

    def has(self, path: str) -> bool:
        return False

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        assert path not in self.written, f"{path} was written before"
        assert all(part not in ("", ".", "..") for part in path.split("/")), path
        assert "\\" not in path, path
        assert path.isprintable(), path
        target = self.data / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            yield stream
            self.written[path] = stream.tell()


def with_natives(package: Path) -> dict[str, str]:
    """Put the natives that the slices name into a package; returns path -> SHA-256 as `PackageFacts` has them."""
    found = {}
    for part in SLICES:
        for each in part.messages:
            for file in each.files:
                if file.path is not None and file.sha256 is not None:
                    target = package / "data" / file.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(open_blob(file.sha256).read())
                    found[f"data/{file.path}"] = file.sha256
    return found


def write(writer_class: Any, package: Path, *, terms: Terms = TERMS, slices: tuple[Slice, ...] = SLICES) -> Written:
    """Write slices into a folder by one writer, as an export does."""
    writer = writer_class(terms, FolderSink(package))
    try:
        for part in slices:
            writer.add(part)
        written: Written = writer.finish()
    finally:
        writer.close()
    return written


def paths_of(name: str, folder: Path) -> list[str]:
    """The files of a format in a package, relative to its payload."""
    data = folder / "data"
    return sorted(path.relative_to(data).as_posix() for path in (data / name).rglob("*") if path.is_file())


def facts(name: str, folder: Path, written: Written, natives: dict[str, str], **further: Any) -> PackageFacts:
    """What the report of such a package says."""
    return PackageFacts(
        **{
            "matter": TERMS.matter,
            "archive_id": TERMS.archive_id,
            "head_sequence": TERMS.head_sequence,
            "head_digest": TERMS.head_digest,
            "zone": "Asia/Tokyo",
            "messages": MESSAGES,
            "message_versions": VERSIONS,
            "files": FILES,
            "missing_files": MISSING_FILES,
            "conversations": {
                chat: sum(len(part.messages) for part in SLICES if part.conversation.chat_id == chat)
                for chat in dict.fromkeys(part.conversation.chat_id for part in SLICES)
            },
            "formats": {
                name: FormatFacts(
                    written.messages, written.files, tuple(f"data/{path}" for path in paths_of(name, folder))
                )
            },
            "natives": natives,
            **further,
        }
    )
