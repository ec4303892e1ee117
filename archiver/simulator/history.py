"""`chat.history`: message history in pages, as a customer's gateway may offer it. Flock's own API has none (flock-api.md 14).

A switch brings it. Parameters: ``chat`` as in `chat.fetchMessages`; ``limit``; ``order``, ``newest`` (the default) or ``oldest``
first; and where to go on, one of ``cursor`` (the ``next`` of the page before), ``from_uid`` (after that message) and ``from_time``
(milliseconds; messages of that very instant come again). The answer is ``{"messages": […], "next": "…" or null, "more": true or
false}``.

Every message is rendered once and kept, so that a benchmark measures who asks and not who answers.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from archiver.ids import chat_of
from archiver.simulator.answers import FlockCallError, invalid_parameter
from archiver.simulator.methods import Call
from archiver.simulator.records import Message
from archiver.simulator.render import fetched_message
from archiver.simulator.switches import Switches
from archiver.simulator.workspace import Workspace

HISTORY_METHOD = "chat.history"
PAGE_MESSAGES = 100

# Where a message stands in its chat: when it was sent, and its uid among those of one instant.
_Place = tuple[int, str]
_AFTER_EVERY_UID = "\U0010ffff"


class History:
    """The messages of each chat in order of time, kept up with the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._places: dict[str, list[_Place]] = {}
        self._known = 0
        self._rendered: dict[str, tuple[int, bytes]] = {}
        self._rendered_for: Switches | None = None

    def answer(self, call: Call) -> msgspec.Raw:
        """Return one page as JSON; raises 400 UnknownChat, or InvalidParameter for a cursor that is none."""
        chat = call.parameters.required("chat")
        chat_id, _ = chat_of(call.caller, chat)
        known = chat in call.workspace.channels or chat in call.workspace.people
        if not known or not call.workspace.may_read(call.caller, chat_id):
            raise FlockCallError(400, "UnknownChat", f"{chat} is not known")
        limit = min(_number(call, "limit", default=PAGE_MESSAGES), call.switches.history_page_max)
        if limit < 1:
            raise invalid_parameter("limit", "at least 1")
        order = call.parameters.text("order", default="newest")
        if order not in ("newest", "oldest"):
            raise invalid_parameter("order", "order is newest or oldest")
        self._keep_up()
        if self._rendered_for is not call.switches:
            self._rendered.clear()
            self._rendered_for = call.switches
        places = self._places.get(chat_id, [])
        if call.switches.history_cursor == "offset":
            return self._page_by_number(call, places, limit=limit, newest_first=order == "newest")
        return self._page_by_place(call, places, limit=limit, newest_first=order == "newest")

    def _page_by_place(self, call: Call, places: list[_Place], *, limit: int, newest_first: bool) -> msgspec.Raw:
        start = self._start(call, places, newest_first=newest_first)
        order = range(start, -1, -1) if newest_first else range(start, len(places))
        found: list[Message] = []
        for at in order:
            message = self._workspace.messages[places[at][1]]
            if not _is_shown(message, call):
                continue
            if len(found) == limit:
                return self._page(found, call, cursor=_token(f"{found[-1].sent_at_ms}/{found[-1].uid}"))
            found.append(message)
        return self._page(found, call, cursor=None)

    def _start(self, call: Call, places: list[_Place], *, newest_first: bool) -> int:
        """Return the position in ``places`` of the first message that may be on the page."""
        parameters = call.parameters
        if cursor := parameters.text("cursor", default=""):
            sent_at, _, uid = _token_text(cursor).partition("/")
            if not sent_at.isdecimal():
                raise invalid_parameter("cursor", "this is no cursor")
            place = (int(sent_at), uid)
        elif uid := parameters.text("from_uid", default=""):
            message = self._workspace.messages.get(uid)
            if message is None or message.deleted_at_ms is not None:
                raise invalid_parameter("from_uid", "there is no such message")
            place = (message.sent_at_ms, uid)
        elif parameters.text("from_time", default=""):
            at_ms = _number(call, "from_time", default=0)
            if newest_first:
                return bisect_right(places, (at_ms, _AFTER_EVERY_UID)) - 1
            return bisect_left(places, (at_ms, ""))
        else:
            return len(places) - 1 if newest_first else 0
        return bisect_left(places, place) - 1 if newest_first else bisect_right(places, place)

    def _page_by_number(self, call: Call, places: Sequence[_Place], *, limit: int, newest_first: bool) -> msgspec.Raw:
        """Return a page whose cursor only counts messages: what comes or goes meanwhile shifts all that follow."""
        cursor = call.parameters.text("cursor", default="")
        text = _token_text(cursor) if cursor else "0"
        if not text.isdecimal():
            raise invalid_parameter("cursor", "this is no cursor")
        messages = (self._workspace.messages[uid] for _, uid in (reversed(places) if newest_first else places))
        shown: Iterator[Message] = (message for message in messages if _is_shown(message, call))
        found = list(islice(shown, int(text), int(text) + limit + 1))
        more = len(found) > limit
        return self._page(found[:limit], call, cursor=_token(str(int(text) + limit)) if more else None)

    def _page(self, messages: Sequence[Message], call: Call, *, cursor: str | None) -> msgspec.Raw:
        body = b",".join([self._render(message, call.switches) for message in messages])
        following = msgspec.json.encode(cursor)
        more = b"true" if cursor else b"false"
        return msgspec.Raw(b'{"messages":[%b],"next":%b,"more":%b}' % (body, following, more))

    def _render(self, message: Message, switches: Switches) -> bytes:
        known = self._rendered.get(message.uid)
        if known is not None and known[0] == len(message.versions):
            return known[1]
        body = msgspec.json.encode(fetched_message(message, switches))
        self._rendered[message.uid] = (len(message.versions), body)
        return body

    def _keep_up(self) -> None:
        """Take in the messages that appeared since the last call; one may be older than those that are there."""
        messages = self._workspace.messages
        if len(messages) == self._known:
            return
        for message in islice(messages.values(), self._known, None):
            insort(self._places.setdefault(message.chat_id, []), (message.sent_at_ms, message.uid))
        self._known = len(messages)


def _is_shown(message: Message, call: Call) -> bool:
    switches = call.switches
    if message.deleted_at_ms is not None and not switches.fetch_deleted:
        return False
    limited = message.latest.visible_to
    return not limited or switches.fetch_limited or call.caller == message.sender or call.caller in limited


def _number(call: Call, name: str, *, default: int) -> int:
    text = call.parameters.text(name, default=str(default))
    if not (text.isascii() and text.isdigit()):
        raise invalid_parameter(name, f"{name} must be a whole number")
    return int(text)


def _token(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


def _token_text(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        raise invalid_parameter("cursor", "this is no cursor") from None
