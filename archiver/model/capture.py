"""Captures: raw bytes received, with where and when."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

FeedKind = Literal["webhook", "event"]
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class Capture(msgspec.Struct, frozen=True, gc=False):
    """One push exactly as it arrived, already authenticated and not yet interpreted.

    ``feed`` names the door it came through (the webhook's configured name, or ``events``); ``verified`` says how it
    was authenticated (``webhook-token`` or ``event-token``); ``attributes`` are a few facts of the request worth
    keeping, such as ``content-type``, never a secret.
    """

    feed: str
    feed_kind: FeedKind
    received_at_ms: int
    verified: str
    body: bytes
    attributes: Mapping[str, str] = NO_ATTRIBUTES


class SpooledCapture(msgspec.Struct, frozen=True, gc=False):
    """A capture with its place in the spool; sequences start at 1 and only grow, with holes allowed."""

    sequence: int
    capture: Capture
