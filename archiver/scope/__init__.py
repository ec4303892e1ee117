"""Whom and what the words of a scope mean: custodians, chats, days and search expressions, for holds and for matters alike.

A hold that covers what Alice may have seen and an export of what Alice may have seen must find the same, so both ask here. `membership`
tells who is meant and who was in which channel when.
"""

from __future__ import annotations
