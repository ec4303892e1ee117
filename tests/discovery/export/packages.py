"""Packages of one format, written from the slices that every writer is tested with, and read back by its checker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archiver.discovery.checks import checker
from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.export.formats import writer_class
from archiver.discovery.export.record import Slice, Terms
from archiver.discovery.export.sink import Written
from tests.discovery.export.slices import SLICES, TERMS, facts, with_natives, write


@dataclass(frozen=True)
class Package:
    format: str
    folder: Path
    written: Written
    facts: PackageFacts

    @property
    def data(self) -> Path:
        return self.folder / "data" / self.format

    def findings(self, **told: Any) -> list[Finding]:
        check = checker(self.format)
        assert check is not None
        return list(check(self.folder, replace(self.facts, **told)))

    def codes(self, **told: Any) -> set[str]:
        return {finding.code for finding in self.findings(**told)}


def package(name: str, folder: Path, *, terms: Terms = TERMS, slices: tuple[Slice, ...] = SLICES) -> Package:
    folder.mkdir(parents=True, exist_ok=True)
    natives = with_natives(folder)
    written = write(writer_class(name), folder, terms=terms, slices=slices)
    messages = [message for part in slices for message in part.messages]
    files = [file for message in messages for file in message.files]
    chats = [part.conversation.chat_id for part in slices]
    told = facts(
        name,
        folder,
        written,
        natives,
        messages=len(messages),
        message_versions=sum(len(message.versions) for message in messages),
        files=len(files),
        missing_files=sum(file.path is None for file in files),
        conversations={chat: sum(message.chat_id == chat for message in messages) for chat in dict.fromkeys(chats)},
        is_redacted=terms.is_redacted,
    )
    return Package(name, folder, written, told)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
