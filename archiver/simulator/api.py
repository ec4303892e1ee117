"""The API's door: checks in Flock's order, then the method (flock-api.md 17, lines 1 and 2); and the door of incoming webhooks.

The order is: the method exists, the verb is right, the request can be read, there is a token, it is valid, the app is enabled,
the rate limit is kept, the parameters are right.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from archiver.errors import UsageError
from archiver.simulator.answers import FlockCallError, failure, result, spoil
from archiver.simulator.contents import version_from
from archiver.simulator.delivery import Delivery
from archiver.simulator.faults import Faults
from archiver.simulator.history import HISTORY_METHOD, History
from archiver.simulator.limits import RateLimiter
from archiver.simulator.methods import GROUP_ALIASES, METHODS, Call, Method
from archiver.simulator.parameters import Parameters, read_body, read_query
from archiver.simulator.switches import REQUEST_BYTES_MAX
from archiver.simulator.webhooks import Webhooks
from archiver.simulator.workspace import Grant, Workspace

_EVERY_VERB = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_BEARER = "bearer "


class Api:
    """The API of one workspace. ``calls`` counts answers by method and status, ``tokens_in`` the ways tokens came."""

    def __init__(
        self, workspace: Workspace, delivery: Delivery, webhooks: Webhooks, faults: Faults, limiter: RateLimiter
    ) -> None:
        self._workspace = workspace
        self._delivery = delivery
        self._webhooks = webhooks
        self._faults = faults
        self._limiter = limiter
        self._history = Method(History(workspace).answer)
        self.calls: dict[str, Counter[str]] = {}
        self.tokens_in: Counter[str] = Counter()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/{method:path}", self._answer_call, methods=_EVERY_VERB),
                Route("/hooks/sendMessage/{hook_id}", self._answer_incoming, methods=["POST"]),
                Route("/{rest:path}", self._answer_nothing, methods=_EVERY_VERB),
            ]
        )

    async def _answer_call(self, request: Request) -> Response:
        name = request.path_params["method"]
        fault = self._faults.draw("api", name)
        try:
            if fault is not None and fault.kind in _BEFORE_THE_CALL:
                answer = spoil(Response(), fault)
            else:
                answer = result(await self._call(request, name))
        except FlockCallError as error:
            answer = failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        if fault is not None and fault.kind not in _BEFORE_THE_CALL:
            answer = spoil(answer, fault)
        self.calls.setdefault(name, Counter())[fault.kind if fault else str(answer.status_code)] += 1
        return answer

    async def _call(self, request: Request, name: str) -> object:
        switches = self._delivery.switches
        method = self._method(name)
        if request.method != "POST" and (request.method != "GET" or switches.post_only):
            raise FlockCallError(405, "HTTPMethodNotAllowed", f"{request.method} is not allowed")
        body = await request.body()
        if len(body) > REQUEST_BYTES_MAX:
            raise FlockCallError(400, "InvalidRequestData", "The request is too large")
        in_query = read_query(request.scope["query_string"])
        content_type = request.headers.get("content-type", "")
        in_body = read_body(body, content_type, json_bodies=switches.json_bodies) if request.method == "POST" else {}
        token = self._token(request, in_query, in_body)
        grant = self._granted(token, method)
        wait = self._limiter.wait_for(token, name, switches)
        if wait > 0.0:
            retry_after = self._limiter.retry_after(wait, switches)
            headers = {"Retry-After": retry_after} if retry_after is not None else {}
            raise FlockCallError(429, "TooManyRequests", "The rate limit is reached", headers=headers)
        parameters = Parameters(in_query | in_body, comma_lists=switches.comma_lists)
        return method.answer(Call(grant.user_id, grant.kind, parameters, self._workspace, self._delivery))

    def _method(self, name: str) -> Method:
        method = METHODS.get(name)
        if method is None and self._delivery.switches.groups_aliases:
            method = GROUP_ALIASES.get(name)
        if name == HISTORY_METHOD and self._delivery.switches.history:
            method = self._history
        if method is None:
            raise FlockCallError(404, "NoSuchMethod", f"There is no method {name[:100]}")
        return method

    def _token(self, request: Request, in_query: dict[str, str], in_body: dict[str, Any]) -> str:
        """Return the token of a call and count the ways it came; raises 400 MissingUserToken."""
        header = request.headers.get("authorization", "")
        for way, present in (("query", in_query.get("token")), ("body", in_body.get("token")), ("header", header)):
            if present:
                self.tokens_in[way] += 1
        token = in_body.get("token") or in_query.get("token")
        if not token and header and self._delivery.switches.header_auth:
            token = header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else header.strip()
        if not token:
            raise FlockCallError(400, "MissingUserToken", "No token was sent")
        return token if isinstance(token, str) else ""

    def _granted(self, token: str, method: Method) -> Grant:
        grant = self._workspace.grants.get(token)
        if grant is None or (grant.kind == "bot" and not method.bots):
            raise FlockCallError(403, "InvalidToken", "The token is not valid")
        if grant.disabled_by is not None:
            raise FlockCallError(403, "AppDisabled", "The app is disabled", {"disabledBy": grant.disabled_by})
        return grant

    async def _answer_incoming(self, request: Request) -> Response:
        """Post what an incoming webhook is given, in its owner's name (flock-api.md 11.2)."""
        hook = self._webhooks.incoming(request.path_params["hook_id"])
        if hook is None:
            return failure(FlockCallError(404, "NoSuchWebhook", "There is no such webhook"))
        try:
            decoded = msgspec.json.decode(await request.body())
            named = {"name": hook.name, "profileImage": ""}
            version = version_from(decoded, at_ms=self._workspace.step(), send_as=named)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError, UsageError):
            return failure(FlockCallError(400, "InvalidRequestData", "The body is no message"))
        if not (version.text or version.flockml or version.attachments):
            return failure(FlockCallError(400, "MissingTextOrAttachment", "Either text or an attachment is needed"))
        message = self._workspace.compose(hook.owner, hook.channel_id, version, feed=hook.hook_id)
        for push in self._delivery.of_message(self._workspace.post(message)):
            self._delivery.send_soon(push)
        return result({"uid": message.uid})

    async def _answer_nothing(self, request: Request) -> Response:
        return failure(FlockCallError(404, "NoSuchMethod", f"There is nothing at {request.url.path[:100]}"))


# These faults replace the call; the others spoil the answer of a call that was made.
_BEFORE_THE_CALL = frozenset(
    {
        "too_many_requests",
        "internal_error",
        "unavailable",
        "request_timeout",
        "bad_gateway",
        "empty_error",
        "invalid_token",
    }
)
