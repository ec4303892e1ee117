"""A queue service that does what real ones may: it passes each request on to another one, and bends, loses or refuses answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import httpx

from archiver.simulator.s3server import S3Access
from tests.servers.scripted import Answer, Received, ScriptedServer


@dataclass(frozen=True)
class Refusal:
    """The request does not reach the queue; the answer is this error."""

    code: str
    status: int = 400


@dataclass(frozen=True)
class LostAnswer:
    """The queue does what was asked, and whoever asked never hears of it."""


@dataclass(frozen=True)
class BentAnswer:
    """The answer is changed on its way."""

    bend: Callable[[dict[str, Any]], dict[str, Any]]


Fault = Refusal | LostAnswer | BentAnswer
# What happens to a request, by its action such as SendMessage and its parameters; None: nothing.
Rule = Callable[[str, dict[str, Any]], Fault | None]

_HEADERS_PASSED_ON = frozenset({"authorization", "content-type", "x-amz-target", "x-amz-date"})
_HEADERS_PASSED_BACK = frozenset({"date", "x-amzn-query-error", "content-type"})


class QueueBetween:
    """Stands between a client and the queue service of ``behind``; `rule` may change at any time."""

    def __init__(self, behind: S3Access) -> None:
        self._behind = behind
        self._http = httpx.Client(trust_env=False)
        self._server = ScriptedServer(self._pass_on)
        self._lock = threading.Lock()
        self.rule: Rule = lambda _action, _request: None
        self.actions: list[str] = []

    @property
    def access(self) -> S3Access:
        return replace(self._behind, endpoint_url=self._server.origin)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)
        self._http.close()

    def _pass_on(self, received: Received) -> Answer:
        action = received.headers["x-amz-target"].rpartition(".")[2]
        with self._lock:
            self.actions.append(action)
            fault = self.rule(action, json.loads(received.body))
        if isinstance(fault, Refusal):
            body = json.dumps({"__type": f"com.amazonaws.sqs#{fault.code}", "message": "secret details"})
            return Answer(body.encode(), fault.status, {"Content-Type": "application/x-amz-json-1.0"})
        answer = self._http.request(
            received.verb,
            self._behind.endpoint_url + received.target,
            headers={name: value for name, value in received.headers.items() if name in _HEADERS_PASSED_ON},
            content=received.body,
            timeout=30,
        )
        if isinstance(fault, LostAnswer):
            return Answer(raw=b"")
        content = answer.content
        if isinstance(fault, BentAnswer) and answer.status_code == 200:
            content = json.dumps(fault.bend(json.loads(content))).encode()
        headers = {name: value for name, value in answer.headers.items() if name in _HEADERS_PASSED_BACK}
        return Answer(content, answer.status_code, headers)
