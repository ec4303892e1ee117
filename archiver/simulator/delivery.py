"""Pushes on their way: webhook posts and events, with the faults that befall them and what was answered.

Flock's delivery is taken as at most once, without retries (flock-api.md 11.1): what the listener does not take is lost to it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from archiver.clock import Clock
from archiver.simulator.contents import version_from
from archiver.simulator.events import ANSWER_SHOWN, EVENT_TYPE, TOKEN_HEADER, EventTokens, event_body
from archiver.simulator.faults import REORDER_AFTER_PUSHES, Fault, Faults
from archiver.simulator.pusher import Address, Answer, Pusher
from archiver.simulator.records import Message
from archiver.simulator.render import Json, pushed_message
from archiver.simulator.switches import Switches
from archiver.simulator.webhooks import WEBHOOK_HEADERS, OutgoingWebhook, Webhooks, webhook_body
from archiver.simulator.workspace import Workspace

EVENTS_FEED = "events"
_REPLY_FIELDS = ("text", "flockml")
_GZIP_HEADER = "Content-Encoding: gzip\r\n"
_CHANGED_FIELDS: Mapping[str, Json] = {
    "absurd_time": {"timestamp": "9999999-99-99T99:99:99Z", "timestampInMillis": 2**63},
    "unknown_fields": {"futureField": {"nested": [1, "two", None]}, "anotherField": "x"},
    "unknown_name": {"name": "app.somethingNew"},
}


class PushRecord(msgspec.Struct, frozen=True, gc=False):
    """One push as it was tried: its feed, what it carried, the status answered (or why there was none), and the fault.

    ``status`` is a number as text, or ``dropped``, ``timeout`` or the name of the network's error.
    """

    feed: str
    name: str
    uid: str
    status: str
    fault: str


class Push(msgspec.Struct, gc=False):
    """One push to make: ``name`` is the event's, empty for a webhook; ``uid`` the message's, empty where there is none."""

    feed: str
    name: str
    uid: str
    user_id: str
    hook: OutgoingWebhook | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Violation:
    """Something an archiver must never do, and did."""

    kind: str
    where: str
    detail: str


class Delivery:
    """Makes pushes of what happens, sends them, and remembers every one."""

    def __init__(self, workspace: Workspace, webhooks: Webhooks, faults: Faults, clock: Clock) -> None:
        self._workspace = workspace
        self._webhooks = webhooks
        self._faults = faults
        self._tokens = EventTokens(workspace, clock)
        self._pusher = Pusher()
        self._listener: Address | None = None
        self._held: list[tuple[int, Push]] = []
        self._background: set[asyncio.Task[None]] = set()
        self.switches = Switches()
        self.records: list[PushRecord] = []
        self.statuses: Counter[str] = Counter()
        self.violations: list[Violation] = []

    def listen_at(self, address: Address | None) -> None:
        """Send events there from now on, or nowhere."""
        self._listener = address

    # What to push

    def of_message(self, message: Message, *, edited: bool = False) -> Iterator[Push]:
        """Yield the pushes that a new or edited message causes."""
        for hook in self._webhooks.concerned(message, self.switches, edited=edited):
            yield Push(hook.name, "", message.uid, "", hook, webhook_body(hook, message, self.switches))
        if message.recipient == self._workspace.bot_id and not edited:
            carried = {"message": pushed_message(message, self.switches)}
            yield from self.of_event("chat.receiveMessage", message.sender, carried, uid=message.uid)

    def of_event(self, name: str, user_id: str, attributes: Json, *, uid: str = "") -> Iterator[Push]:
        """Yield the push of an event, if there is a listener; raises `UsageError` if Flock would not send it."""
        body = event_body(self._workspace, name, user_id, attributes)
        if self._listener is not None:
            yield Push(EVENTS_FEED, name, uid, user_id, None, msgspec.json.encode(body))

    # Sending

    async def send(self, push: Push) -> Answer:
        """Send one push now, unless a fault drops, holds or delays it; return what was answered."""
        fault = self._faults.draw("webhooks" if push.hook else "events", push.feed if push.hook else push.name)
        kind = fault.kind if fault else ""
        if kind == "drop":
            self._note(push, "dropped", kind)
            answer = Answer(None, error="dropped")
        elif kind == "reorder":
            self._held.append((len(self.records) + REORDER_AFTER_PUSHES, push))
            answer = Answer(None, error="held")
        elif fault is not None and kind == "delay":
            self._spawn(self._send_later(push, fault))
            answer = Answer(None, error="held")
        else:
            answer = await self._send_now(push, kind)
            if kind == "duplicate":
                await self._send_now(push, kind)
        if self._held and self._held[0][0] <= len(self.records):
            _, held = self._held.pop(0)
            await self._send_now(held, "reorder")
        return answer

    def send_soon(self, push: Push) -> None:
        """Send one push in the background."""
        self._spawn(self._send_and_forget(push))

    async def settle(self) -> None:
        """Wait until nothing is under way, and send what was held back."""
        while self._held or self._background:
            held, self._held = self._held, []
            for _, push in held:
                await self._send_now(push, "reorder")
            if self._background:
                await asyncio.wait(list(self._background))

    async def close(self) -> None:
        """Give up what is under way and close the connections."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._pusher.close()

    async def _send_later(self, push: Push, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        await self._send_now(push, fault.kind)

    async def _send_and_forget(self, push: Push) -> None:
        await self.send(push)

    async def _send_now(self, push: Push, fault: str) -> Answer:
        body = _spoilt_body(push.body, fault)
        gzipped = _GZIP_HEADER if fault == "gzip" else ""
        if push.hook is not None:
            address = push.hook.wrong_address if fault == "wrong_token" else push.hook.address
            headers = WEBHOOK_HEADERS + gzipped
        elif self._listener is not None:
            address, headers = self._listener, EVENT_TYPE + gzipped
            if fault != "no_token":
                token = self._tokens.token(push.user_id, self.switches, fault=fault)
                headers += f"{TOKEN_HEADER}: {token}\r\n"
        else:
            return Answer(None, error="no listener")
        answer = await self._pusher.post(address, headers, body, timeout_seconds=self.switches.push_timeout_seconds)
        self._note(push, str(answer.status) if answer.status is not None else answer.error, fault)
        if answer.body:
            self._judge(push, answer)
        return answer

    def _note(self, push: Push, status: str, fault: str) -> None:
        self.records.append(PushRecord(push.feed, push.name, push.uid, status, fault))
        self.statuses[status] += 1

    def _judge(self, push: Push, answer: Answer) -> None:
        """Record an answer that Flock would post or show; post it where it would be posted (flock-api.md 11.1)."""
        reply = _reply_in(answer.body)
        if push.hook is not None:
            self.violations.append(Violation("webhook_answer", push.feed, answer.body[:200].decode(errors="replace")))
            if reply and answer.status == 200 and self.switches.post_answers:  # noqa: PLR2004 -- the HTTP status
                self._post_reply(push.hook, reply)
        elif push.name in ANSWER_SHOWN and reply:
            self.violations.append(Violation("event_answer", push.name, answer.body[:200].decode(errors="replace")))

    def _post_reply(self, hook: OutgoingWebhook, reply: Json) -> None:
        # Whatever else the answer holds may be of any type; these two were looked at.
        words = {field: reply[field] for field in _REPLY_FIELDS if isinstance(reply.get(field), str)}
        from_hook = {"name": hook.name, "profileImage": ""}
        version = version_from(words, at_ms=self._workspace.step(), send_as=from_hook)
        # It fires no webhook: two callbacks that answer would never stop talking to each other.
        self._workspace.post(self._workspace.compose(hook.owner, hook.channel_id, version, feed=hook.token))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _spoilt_body(body: bytes, fault: str) -> bytes:
    """Return what a fault makes of a body; faults that concern something else leave it as it is."""
    if fault in _CHANGED_FIELDS:
        return msgspec.json.encode(msgspec.json.decode(body) | _CHANGED_FIELDS[fault])
    if fault == "no_uid":
        return msgspec.json.encode({name: value for name, value in msgspec.json.decode(body).items() if name != "uid"})
    if fault == "gzip":
        return gzip.compress(body, mtime=0)
    if fault == "not_json":
        return body[:-1]
    if fault == "not_utf8":
        return body.replace(b'"', b'"\xff\xfe', 1)
    return body


def _reply_in(body: bytes) -> Json | None:
    """Return the message that an answer holds, if it holds one."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(decoded, dict) and any(isinstance(decoded.get(field), str) for field in _REPLY_FIELDS):
        return decoded
    return None
