"""The control interface: the verbs of `stage.Stage` over HTTP, JSON in and out, on a port of its own.

=======  ============================  ===========================================================================
verb     path                          what, with the JSON fields it takes
=======  ============================  ===========================================================================
GET      /                             where everything is, counts, how much of the script is left
GET      /switches                     the switches; PATCH with any of them sets them
GET      /users, /channels             who and what there is
GET      /tokens                       ``users`` and ``bots``: id to token
POST     /webhooks                     ``owner, channel, url, name?, shape?`` → ``token``; GET lists them
POST     /webhooks/all                 ``url`` with ``{name}`` in it, ``shape?`` → name to token, for channels without one
DELETE   /webhooks/<token>             remove one
POST     /incoming-webhooks            ``owner, channel, name?`` → ``url``
PUT      /listener                     ``url`` or null: where app events go
POST     /installs                     ``user`` → ``token``; 409 if the listener did not answer 200
DELETE   /installs/<user>              uninstall; PATCH with ``disabled_by`` (``user``, ``team``, null) switches the app off or on
POST     /play                         ``count?, until_ms?, rate?, connections?, push?, wait?`` → the report
POST     /settle                       wait until no push is under way
POST     /messages                     ``from, to`` and content fields → ``uid``
PATCH    /messages/<uid>               content fields: an edit; DELETE removes the message
PATCH    /channels/<id>                ``name``: a new name
POST     /channels/<id>/members        ``user, affiliation?``; DELETE /channels/<id>/members/<user>
PATCH    /users/<id>                   ``first_name?, last_name?, email?``
POST     /actions                      ``user, chat, uids``: client.messageAction → ``status``
POST     /events                       ``name, user, attributes?``: any event → ``status``
PATCH    /files                        ``path`` (or URL) and ``mode``
POST     /faults                       ``kind, where, count? or probability?, seed?, seconds?``; GET lists, DELETE clears
GET      /truth                        JSON lines, `truth`; ``?kind=message`` for some kinds, repeated
GET      /violations                   what an archiver must never do, and did; DELETE clears
GET      /counters                     calls, pushes, file requests; DELETE counts from zero
=======  ============================  ===========================================================================

Errors are ``{"error", "next_step"}`` with 400 for a wrong request and 409 for what is refused.
It is meant for loopback and has no password.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from archiver.errors import ArchiverError, RefusedError, UsageError
from archiver.simulator.answers import JSON_TYPE
from archiver.simulator.faults import Fault
from archiver.simulator.orders import (
    DisableOrder,
    EventOrder,
    FaultOrder,
    FileOrder,
    IncomingOrder,
    InstallOrder,
    JoinOrder,
    ListenerOrder,
    MessageActionOrder,
    PlayOrder,
    ProfileOrder,
    RenameOrder,
    WebhookOrder,
    WebhooksForAllOrder,
    read,
)
from archiver.simulator.render import Json, channel_object, public_profile
from archiver.simulator.stage import Stage

TRUTH_TYPE = "application/x-ndjson"
_ROWS_PER_CHUNK = 256

_Handler = Callable[[Stage, Request], Awaitable[object]]


def control_app(stage: Stage, where: Json) -> Starlette:
    """Return the ASGI application; ``where`` names the simulator's addresses."""

    async def overview(_: Stage, __: Request) -> object:
        return where | {
            "app_id": stage.workspace.app_id,
            "bot_id": stage.workspace.bot_id,
            "now_ms": stage.workspace.now_ms,
            "messages": len(stage.workspace.messages),
            "remaining": stage.player.remaining,
            "playing": stage.player.playing,
        }

    handlers = (("GET", "/", overview), *_HANDLERS)
    routes = [Route(path, _endpoint(stage, handler), methods=[verb]) for verb, path, handler in handlers]
    return Starlette(routes=[*routes, Route("/truth", _truth(stage), methods=["GET"])])


def _endpoint(stage: Stage, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            value = await handler(stage, request)
        except ArchiverError as error:
            status = 409 if isinstance(error, RefusedError) else 400
            return _json({"error": error.what, "next_step": error.next_step}, status)
        return _json(value if value is not None else {}, 200)

    return answer


def _truth(stage: Stage) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return StreamingResponse(_lines(stage.truth(*request.query_params.getlist("kind"))), media_type=TRUTH_TYPE)

    return answer


async def _lines(rows: Iterator[Json]) -> AsyncIterator[bytes]:
    encode = msgspec.json.Encoder().encode
    chunk: list[bytes] = []
    for row in rows:
        chunk.append(encode(row))
        if len(chunk) == _ROWS_PER_CHUNK:
            yield b"\n".join(chunk) + b"\n"
            chunk.clear()
            await asyncio.sleep(0)
    if chunk:
        yield b"\n".join(chunk) + b"\n"


def _json(value: object, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON_TYPE)


async def _switches(stage: Stage, _: Request) -> object:
    return stage.switches()


async def _configure(stage: Stage, request: Request) -> object:
    return stage.configure(**await read(request, dict[str, Any]))


async def _users(stage: Stage, _: Request) -> object:
    return [public_profile(person) | {"bot": person.is_bot} for person in stage.workspace.people.values()]


async def _channels(stage: Stage, _: Request) -> object:
    return [
        channel_object(channel) | {"private": channel.private, "members": list(channel.members)}
        for channel in stage.workspace.channels.values()
    ]


async def _tokens(stage: Stage, _: Request) -> object:
    return {"users": stage.workspace.tokens("user"), "bots": stage.workspace.tokens("bot")}


async def _list_webhooks(stage: Stage, _: Request) -> object:
    return [
        {
            "token": hook.token,
            "owner": hook.owner,
            "channel": hook.channel_id,
            "url": hook.url,
            "name": hook.name,
            "shape": hook.shape,
        }
        for hook in stage.webhooks.outgoing()
    ]


async def _add_webhook(stage: Stage, request: Request) -> object:
    order = await read(request, WebhookOrder)
    return {"token": stage.add_webhook(order.owner, order.channel, order.url, name=order.name, shape=order.shape)}


async def _add_webhooks(stage: Stage, request: Request) -> object:
    order = await read(request, WebhooksForAllOrder)
    return stage.add_webhooks(order.url, shape=order.shape)


async def _remove_webhook(stage: Stage, request: Request) -> object:
    stage.remove_webhook(request.path_params["token"])
    return None


async def _add_incoming(stage: Stage, request: Request) -> object:
    order = await read(request, IncomingOrder)
    return {"url": stage.add_incoming_webhook(order.owner, order.channel, name=order.name)}


async def _set_listener(stage: Stage, request: Request) -> object:
    stage.set_listener((await read(request, ListenerOrder)).url)
    return None


async def _install(stage: Stage, request: Request) -> object:
    return {"token": await stage.install((await read(request, InstallOrder)).user)}


async def _uninstall(stage: Stage, request: Request) -> object:
    await stage.uninstall(request.path_params["user"])
    return None


async def _disable(stage: Stage, request: Request) -> object:
    stage.disable(request.path_params["user"], by=(await read(request, DisableOrder)).disabled_by)
    return None


async def _play(stage: Stage, request: Request) -> object:
    order = await read(request, PlayOrder)
    if stage.player.playing:
        raise RefusedError("the script is being played already", next_step="wait for it to end")
    playing = asyncio.create_task(
        stage.player.play(
            count=order.count, until_ms=order.until_ms, rate=order.rate, connections=order.connections, push=order.push
        )
    )
    if order.wait:
        return asdict(await playing)
    stage.player.keep(playing)
    return {"remaining": stage.player.remaining}


async def _settle(stage: Stage, _: Request) -> object:
    await stage.delivery.settle()
    return None


async def _send(stage: Stage, request: Request) -> object:
    content = await read(request, dict[str, Any])
    sender, recipient = content.pop("from", None), content.pop("to", None)
    if not isinstance(sender, str) or not isinstance(recipient, str):
        raise UsageError("a message needs from and to")
    return {"uid": await stage.send(sender, recipient, **content)}


async def _edit(stage: Stage, request: Request) -> object:
    await stage.edit(request.path_params["uid"], **await read(request, dict[str, Any]))
    return None


async def _delete(stage: Stage, request: Request) -> object:
    stage.delete(request.path_params["uid"])
    return None


async def _rename(stage: Stage, request: Request) -> object:
    stage.rename(request.path_params["channel"], (await read(request, RenameOrder)).name)
    return None


async def _join(stage: Stage, request: Request) -> object:
    order = await read(request, JoinOrder)
    stage.join(request.path_params["channel"], order.user, affiliation=order.affiliation)
    return None


async def _leave(stage: Stage, request: Request) -> object:
    stage.leave(request.path_params["channel"], request.path_params["user"])
    return None


async def _change_person(stage: Stage, request: Request) -> object:
    order = await read(request, ProfileOrder)
    stage.change_person(
        request.path_params["user"], first_name=order.first_name, last_name=order.last_name, email=order.email
    )
    return None


async def _act(stage: Stage, request: Request) -> object:
    order = await read(request, MessageActionOrder)
    return {"status": await stage.message_action(order.user, order.chat, order.uids)}


async def _send_event(stage: Stage, request: Request) -> object:
    order = await read(request, EventOrder)
    return {"status": await stage.send_event(order.name, order.user, order.attributes)}


async def _set_file_mode(stage: Stage, request: Request) -> object:
    order = await read(request, FileOrder)
    stage.set_file_mode(order.path, order.mode)
    return None


async def _inject(stage: Stage, request: Request) -> object:
    order = await read(request, FaultOrder)
    stage.inject(
        Fault(
            order.kind,
            order.where,
            count=order.count,
            probability=order.probability,
            seed=order.seed,
            seconds=order.seconds,
        )
    )
    return None


async def _faults(stage: Stage, _: Request) -> object:
    return [
        {
            "kind": fault.kind,
            "where": fault.where,
            "count": fault.count,
            "probability": fault.probability,
            "happened": fault.happened,
        }
        for fault in stage.faults.listed()
    ]


async def _clear_faults(stage: Stage, _: Request) -> object:
    stage.faults.clear()
    return None


async def _violations(stage: Stage, _: Request) -> object:
    return stage.violations()


async def _clear_violations(stage: Stage, _: Request) -> object:
    stage.clear_violations()
    return None


async def _counters(stage: Stage, _: Request) -> object:
    return stage.counters()


async def _reset_counters(stage: Stage, _: Request) -> object:
    stage.reset_counters()
    return None


_HANDLERS: tuple[tuple[str, str, _Handler], ...] = (
    ("GET", "/switches", _switches),
    ("PATCH", "/switches", _configure),
    ("GET", "/users", _users),
    ("PATCH", "/users/{user}", _change_person),
    ("GET", "/channels", _channels),
    ("PATCH", "/channels/{channel}", _rename),
    ("POST", "/channels/{channel}/members", _join),
    ("DELETE", "/channels/{channel}/members/{user}", _leave),
    ("GET", "/tokens", _tokens),
    ("GET", "/webhooks", _list_webhooks),
    ("POST", "/webhooks", _add_webhook),
    ("POST", "/webhooks/all", _add_webhooks),
    ("DELETE", "/webhooks/{token}", _remove_webhook),
    ("POST", "/incoming-webhooks", _add_incoming),
    ("PUT", "/listener", _set_listener),
    ("POST", "/installs", _install),
    ("DELETE", "/installs/{user}", _uninstall),
    ("PATCH", "/installs/{user}", _disable),
    ("POST", "/play", _play),
    ("POST", "/settle", _settle),
    ("POST", "/messages", _send),
    ("PATCH", "/messages/{uid}", _edit),
    ("DELETE", "/messages/{uid}", _delete),
    ("POST", "/actions", _act),
    ("POST", "/events", _send_event),
    ("PATCH", "/files", _set_file_mode),
    ("GET", "/faults", _faults),
    ("POST", "/faults", _inject),
    ("DELETE", "/faults", _clear_faults),
    ("GET", "/violations", _violations),
    ("DELETE", "/violations", _clear_violations),
    ("GET", "/counters", _counters),
    ("DELETE", "/counters", _reset_counters),
)
