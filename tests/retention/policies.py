"""Policies, rows and contexts for tests of retention, written as shortly as a policy's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from archiver.archive.schema import FILES, MESSAGES
from archiver.archive.tables import rows_to_table
from archiver.clock import to_ms
from archiver.retention.context import Context
from archiver.retention.evaluate import Evaluator, Verdicts
from archiver.retention.policy import Policy

SENT_MS = to_ms(datetime(2020, 3, 15, 12, tzinfo=UTC))


def policy(*rules: Mapping[str, Any], zone: str = "UTC", **further: Any) -> Policy:
    """A policy of these rules; one without a name is called by its place."""
    named = [{"name": f"rule {place}", **rule} for place, rule in enumerate(rules, 1)]
    return Policy(**{"name": "test", "zone": zone, "rules": named, **further})


def message(uid: str = "m-1", **further: Any) -> dict[str, Any]:
    return {
        "chat_id": "g:general",
        "chat_kind": "channel",
        "message_uid": uid,
        "version": 1,
        "sent_at": SENT_MS,
        "source": "webhook",
        "sender_id": "u:ann",
        "text": "good morning",
        "plain_text": "good morning",
        **further,
    }


def file(uid: str = "m-1", ordinal: int = 0, **further: Any) -> dict[str, Any]:
    return {"chat_id": "g:general", "message_uid": uid, "ordinal": ordinal, "version": 1, "sent_at": SENT_MS, **further}


def messages(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return rows_to_table(MESSAGES, list(rows))


def files(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return rows_to_table(FILES, list(rows))


def judged(
    policy: Policy,
    *rows: Mapping[str, Any],
    context: Context | None = None,
    with_files: Iterable[Mapping[str, Any]] = (),
) -> Verdicts:
    """The verdicts on rows of messages."""
    evaluator = Evaluator(policy, context or Context())
    return evaluator.of_messages(messages(rows).select(evaluator.message_columns), files(with_files))


def matching(policy: Policy, *rows: Mapping[str, Any], **further: Any) -> list[bool]:
    """Whether the only rule of a policy matches each row."""
    return [rule is not None for rule in judged(policy, *rows, **further).rule.to_pylist()]
