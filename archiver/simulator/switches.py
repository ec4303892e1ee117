"""Where Flock's behaviour is not documented, or varies, a switch chooses. The defaults are the likelier behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import msgspec

from archiver.errors import UsageError

TimestampForm = Literal["number", "iso"]
FetchFields = Literal["all", "documented"]
RetryAfterForm = Literal["seconds", "date"]
HistoryCursor = Literal["place", "offset"]

# The event token of the documentation's sample lives 8 seconds (flock-api.md 10.2).
EVENT_TOKEN_SECONDS = 8
# Signed file URLs were seen to live 47 minutes and 31 hours (flock-api.md 13).
FILE_URL_SECONDS = 47 * 60
PUSH_TIMEOUT_SECONDS = 10.0
# More than this in one body is no API call.
REQUEST_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Switches:
    """How this Flock behaves. Sections are those of ``flock-api.md``."""

    # The API (sections 1, 2, 5).
    header_auth: bool = False  # accept `Authorization: Bearer <token>` and `Authorization: <token>`
    post_only: bool = False  # answer GET with 405
    json_bodies: bool = True  # accept a JSON object as the body
    comma_lists: bool = True  # accept `a,b` where an array is meant
    groups_aliases: bool = True  # answer groups.list, groups.getInfo, groups.getMembers
    uninstall_revokes: bool = True  # a token ends with the installation
    team_id_text: bool = False  # `teamId` as text, as in the older page, and not as a number
    roster_bots: bool = True  # `roster.listContacts` names the bots too
    # chat.fetchMessages (5.2, 6.1).
    fetch_timestamp: TimestampForm = "number"
    fetch_fields: FetchFields = "all"  # "documented": only from, to, uid and text, as in the page's example
    fetch_shuffled: bool = False
    fetch_edits: bool = True  # show the newest version, otherwise the first
    fetch_deleted: bool = False  # show deleted messages as if they were there
    fetch_limited: bool = False  # show `visibleTo` messages to every member
    # chat.history, which Flock does not have: a customer's gateway may (`history`).
    history: bool = False  # offer it
    history_page_max: int = 1_000
    history_cursor: HistoryCursor = "place"  # "offset": the cursor counts messages, so deletions shift what follows
    # Pushes (9, 11.1).
    push_timestamp: TimestampForm = "iso"
    push_edits: bool = False  # an edit fires the outgoing webhook again
    push_limited: bool = True  # `visibleTo` messages reach outgoing webhooks
    push_incoming: bool = True  # so do messages from incoming webhooks
    push_own: bool = True  # so do messages by the webhook's owner
    unknown_fields: bool = False  # add fields that nobody has heard of, to pushes and answers
    post_answers: bool = True  # what an outgoing webhook's callback answers is posted into the channel
    push_timeout_seconds: float = PUSH_TIMEOUT_SECONDS
    # Events (10).
    event_token_seconds: int = EVENT_TOKEN_SECONDS
    action_messages: bool = True  # client.messageAction carries `messages` beside `messageUids`
    # Files (13).
    file_url_seconds: int = FILE_URL_SECONDS
    # Rate limits (4): calls per second and token; by method where named. None is no limit.
    calls_per_second: float | None = None
    calls_burst: int = 1
    method_calls_per_second: Mapping[str, float] = field(default_factory=dict)
    retry_after: bool = False
    retry_after_form: RetryAfterForm = "seconds"


def changed(switches: Switches, changes: Mapping[str, object]) -> Switches:
    """Return the switches with some of them set; raises `UsageError` for an unknown name or a wrong type."""
    known = {switch.name for switch in fields(Switches)}
    for name in changes:
        if name not in known:
            raise UsageError(f"there is no switch {name!r}", next_step=f"choose among {', '.join(sorted(known))}")
    try:
        checked = msgspec.convert(dict(changes), type=Switches)
    except msgspec.ValidationError as error:
        raise UsageError(f"a switch cannot be set so: {error}") from None
    return replace(switches, **{name: getattr(checked, name) for name in changes})
