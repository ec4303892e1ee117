"""The archive as a script for any DuckDB, with nothing of ours installed: the tables of one head, the views and the macros."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from archiver.archive.reader import Head
from archiver.errors import UsageError
from archiver.query import literals, views


def duckdb_script(head: Head, *, root: str, region: str | None, endpoint_url: str | None) -> Iterator[str]:
    """Yield the lines of the script; ``root`` is what stands before a key, with its slash. No credential is in it."""
    yield f"-- The archive at {_comment(root)} as of commit {head.sequence} ({head.at}), for DuckDB 1.4 or newer."
    yield "-- Later commits are not in it, and what is disposed of later is missing: make it anew then."
    if root.startswith("s3://"):
        yield "INSTALL httpfs;"
        yield "LOAD httpfs;"
        yield "-- Credentials come from the AWS_ variables, a profile or the instance's role."
        yield "INSTALL aws;"
        yield "LOAD aws;"
        options = {"REGION": region}
        if endpoint_url:
            scheme, _, place = endpoint_url.partition("://")
            options |= {"ENDPOINT": place, "URL_STYLE": "path", "USE_SSL": "true" if scheme == "https" else "false"}
        given = "".join(f", {name} {literals.literal(value)}" for name, value in options.items() if value)
        yield f"CREATE OR REPLACE SECRET archive (TYPE s3, PROVIDER credential_chain, SCOPE {literals.literal(root)}{given});"
    yield "SET TimeZone = 'UTC';"
    for statement in views.statements(head, root=root):
        yield f"{statement};"


def write_script(path: Path, text: str) -> bool:
    """Write a script, whole or not at all, and tell whether it was another before; raises `UsageError` if it cannot."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        if path.exists() and path.read_text("utf-8", errors="replace") == text:
            return False
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            next_step="name a file in a folder that is there and that this user may write, under `catalogs: duckdb:`",
        ) from error
    return True


def _comment(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
