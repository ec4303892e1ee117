"""What somebody sends, read from Flock's JSON: the content fields of a message (flock-api.md 5.1, 6.1, 11.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from archiver.errors import UsageError
from archiver.simulator.records import Version


class _Sent(msgspec.Struct, gc=False):
    """The fields of a message that its sender chooses, in Flock's spelling."""

    text: str = ""
    flockml: str | None = None
    notification: str | None = None
    mentions: tuple[str, ...] | None = ()
    sendAs: dict[str, Any] | None = None  # noqa: N815 -- Flock's own spelling
    attachments: tuple[dict[str, Any], ...] | None = ()
    onBehalfOf: str | None = ""  # noqa: N815 -- Flock's own spelling
    visibleTo: tuple[str, ...] | None = ()  # noqa: N815 -- Flock's own spelling
    appId: str | None = None  # noqa: N815 -- Flock's own spelling


def version_from(
    fields: Mapping[str, Any], *, at_ms: int, app_id: str | None = None, send_as: dict[str, Any] | None = None
) -> Version:
    """Return the version that a sender's JSON object describes; raises `UsageError` where a field has a wrong type.

    ``app_id`` and ``send_as`` stand where the object says nothing. Fields that nobody knows are left out, as they are not documented.
    """
    try:
        sent = msgspec.convert(dict(fields), type=_Sent)
    except msgspec.ValidationError as error:
        raise UsageError(f"this is no message: {error}") from None
    return Version(
        at_ms=at_ms,
        text=sent.text,
        flockml=sent.flockml,
        notification=sent.notification,
        app_id=sent.appId or app_id,
        mentions=sent.mentions or (),
        send_as=sent.sendAs or send_as,
        attachments=sent.attachments or (),
        on_behalf_of=sent.onBehalfOf or "",
        visible_to=sent.visibleTo or (),
    )
