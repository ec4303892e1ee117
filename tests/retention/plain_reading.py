"""A plain reading of the rules of retention: one item at a time, in Python, with nothing of the product's own.

It is written from the law alone (two modes, periods by whole local days, no match is kept) and is what the set-based evaluation is
held against. Policies are the mappings of their YAML, rows mappings of columns.
"""

from __future__ import annotations

import calendar
import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Row = Mapping[str, Any]
NEVER = None
UNKNOWN = "unknown"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXPLICIT = ("label", "scoped", "all")


def instant(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def local_day(ms: int, zone: str) -> date:
    return instant(ms).astimezone(ZoneInfo(zone)).date()


@functools.cache
def end_of_day(day: date, zone: str) -> int:
    """The minute after the last one that belongs to the day or to one before it; no zone is further from UTC than 15 hours."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, hours=15)
    while at.astimezone(ZoneInfo(zone)).date() > day:
        at -= timedelta(minutes=1)
    return (at + timedelta(minutes=1) - EPOCH) // timedelta(milliseconds=1)


def add(day: date, period: str) -> date:
    """A period later: first all its months, then its days; a month that is shorter ends it on its last day."""
    counts = {unit: int(count) for count, unit in re.findall(r"(\d+)([ymwd])", period)}
    months = day.year * 12 + day.month - 1 + counts.get("y", 0) * 12 + counts.get("m", 0)
    year, month = divmod(months, 12)
    day = date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
    return day + timedelta(days=counts.get("w", 0) * 7 + counts.get("d", 0))


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def is_like(text: str, patterns: Any) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in listed(patterns))


class World:
    """One policy over the rows of one archive."""

    def __init__(self, policy: Row, messages: Sequence[Row], files: Sequence[Row], context: Row) -> None:
        self.policy, self.messages, self.files, self.context = policy, messages, files, context

    def condition(self, key: str, value: Any, message: Row, file: Row | None) -> bool:  # noqa: PLR0911
        parties = message["chat_id"].split(",") if "," in message["chat_id"] else []
        match key:
            case "channel":
                names = {message["chat_id"], *self.context["names"].get(message["chat_id"], ())}
                return not parties and any(is_like(name, value) for name in names)
            case "kind":
                return value == ("direct" if parties else "channel")
            case "sender":
                return self.is_person(message["sender_id"], value)
            case "custodian":
                return any(self.is_person(person, value) for person in (message["sender_id"], *parties))
            case "app":
                return message["app_id"] is not None and is_like(message["app_id"], value)
            case "bot":
                return value == (message["app_id"] is not None or message["sender_id"].startswith("u:B"))
            case "regex":
                return any(re.search(pattern, message["plain_text"]) for pattern in listed(value))
            case "words":
                return any(re.search(rf"\b{word}\b", message["plain_text"], re.IGNORECASE) for word in listed(value))
            case "search":
                return self.is_found(value, message)
            case "source":
                return message["source"] in listed(value)
            case "sent":
                day = local_day(message["sent_at"], self.policy["zone"])
                return value.get("after", date.min) <= day < value.get("before", date.max)
            case "label":
                labels = [self.policy["labels"][name] for name in listed(value)]
                return any(
                    message["message_uid"] in label.get("messages", ()) or message["chat_id"] in label.get("chats", ())
                    for label in labels
                )
            case "mime":
                return file is not None and file["mime"] is not None and is_like(file["mime"], value)
            case "size":
                return file is not None and file["size"] is not None and file["size"] >= value["min"]
            case _:
                raise AssertionError(key)

    def is_found(self, expression: str, message: Row) -> bool:
        """What these search expressions say, one by one."""
        key = (message["chat_id"], message["message_uid"])
        match expression:
            case "morning from:u:ann":
                return "morning" in message["plain_text"] and message["sender_id"] == "u:ann"
            case "NOT price":
                return "price" not in message["plain_text"]
            case "is:edited":
                return any(row["version"] > 1 for row in self.messages if (row["chat_id"], row["message_uid"]) == key)
            case "has:file OR price":
                has_file = any((row["chat_id"], row["message_uid"]) == key for row in self.files)
                return has_file or "price" in message["plain_text"]
            case _:
                raise AssertionError(expression)

    def is_person(self, user: str, patterns: Any) -> bool:
        return any(is_like(name, patterns) for name in (user, *self.context["emails"].get(user, ())))

    def matches_message(self, rule: Row, message: Row, files: Sequence[Row]) -> bool:
        wanted, unwanted = rule.get("match", {}), rule.get("not", {})
        of_file = {key: value for key, value in wanted.items() if key in ("mime", "size")}
        if wanted.get("has_file", bool(files)) != bool(files):
            return False
        if "has_file" in unwanted and unwanted["has_file"] == bool(files):
            return False
        if of_file and not any(all(self.condition(*pair, message, file) for pair in of_file.items()) for file in files):
            return False
        for key, value in unwanted.items():
            if key in ("mime", "size"):
                if any(self.condition(key, value, message, file) for file in files):
                    return False
            elif key != "has_file" and self.condition(key, value, message, None):
                return False
        rest = [(key, value) for key, value in wanted.items() if key not in ("mime", "size", "has_file")]
        return all(self.condition(key, value, message, None) for key, value in rest)

    def matches_file(self, rule: Row, message: Row, file: Row) -> bool:
        wanted, unwanted = rule.get("match", {}), rule.get("not", {})
        if wanted.get("has_file") is False or unwanted.get("has_file") is True:
            return False
        return all(
            self.condition(key, value, message, file) for key, value in wanted.items() if key != "has_file"
        ) and not any(self.condition(key, value, message, file) for key, value in unwanted.items() if key != "has_file")

    def begins(self, rule: Row, versions: Sequence[Row], sent_ms: int) -> date | str:
        zone = self.policy["zone"]
        sent = local_day(sent_ms, zone)
        clock = rule.get("from", "sent")
        if clock == "sent":
            return sent
        if clock == "last_activity":
            at_ms = self.context["last_activity_ms"].get(versions[0]["chat_id"])
            return UNKNOWN if at_ms is None else max(sent, local_day(at_ms, zone))
        days = []
        for version in versions:
            user = version["sender_id"]
            said = [
                day
                for who, day in self.policy.get("departures", {}).items()
                if who == user or who in self.context["emails"].get(user, ())
            ]
            left_ms = self.context["left_at_ms"].get(user)
            if not said and left_ms is None:
                return UNKNOWN
            days.append(max(said) if said else local_day(left_ms, zone))
        return max(sent, *days)

    def message(self, chat: str, uid: str) -> tuple[Any, Any]:
        """Until when a message is retained, and when it is deleted."""
        versions = [row for row in self.messages if (row["chat_id"], row["message_uid"]) == (chat, uid)]
        files = [row for row in self.files if (row["chat_id"], row["message_uid"]) == (chat, uid)]
        rules = [
            rule
            for rule in self.policy["rules"]
            if rule.get("on", "both") != "files" and any(self.matches_message(rule, row, files) for row in versions)
        ]
        return self.verdict(rules, versions, max(row["sent_at"] for row in versions))

    def file(self, chat: str, uid: str, ordinal: int) -> tuple[Any, Any]:
        """Until when a file is retained, and when it is deleted."""
        versions = [row for row in self.messages if (row["chat_id"], row["message_uid"]) == (chat, uid)]
        of_message = [row for row in self.files if (row["chat_id"], row["message_uid"]) == (chat, uid)]
        rows = [row for row in of_message if row["ordinal"] == ordinal]
        rules = [
            rule
            for rule in self.policy["rules"]
            if rule.get("on", "both") != "messages"
            and any(self.matches_file(rule, version, row) for version in versions for row in rows)
        ]
        return self.verdict(rules, versions, max(row["sent_at"] for row in (*versions, *of_message)))

    def verdict(self, rules: Sequence[Row], versions: Sequence[Row], sent_ms: int) -> tuple[Any, Any]:
        dated = []
        for rule in rules:
            day = self.begins(rule, versions, sent_ms)
            ends = {
                key: float("inf") if day is UNKNOWN else end_of_day(add(day, rule[key]), self.policy["zone"])
                for key in ("retain", "delete")
                if key in rule
            }
            if ends:
                dated.append((self.level(rule), ends))
        judge = self.longest if self.policy.get("mode", "longest") == "longest" else self.specific
        return judge(dated)

    @staticmethod
    def level(rule: Row) -> str:
        if "label" in rule.get("match", {}):
            return "label"
        return "scoped" if rule.get("match") or rule.get("not") or rule.get("on", "both") != "both" else "all"

    @staticmethod
    def longest(dated: Sequence[tuple[str, Row]]) -> tuple[Any, Any]:
        retain = max((ends["retain"] for _, ends in dated if "retain" in ends), default=None)
        for level in EXPLICIT:
            deletes = [ends["delete"] for found, ends in dated if found == level and "delete" in ends]
            if deletes:
                delete = max(min(deletes), retain or min(deletes))
                return retain, None if delete == float("inf") else delete
        return retain, None

    @staticmethod
    def specific(dated: Sequence[tuple[str, Row]]) -> tuple[Any, Any]:
        scoped = [ends for level, ends in dated if level != "all"]
        counting = scoped or [ends for _, ends in dated]
        retain = max((ends["retain"] for ends in counting if "retain" in ends), default=None)
        if not any("delete" in ends for ends in counting):
            return retain, None
        expiry = max(date for ends in counting for date in ends.values())
        return retain, None if expiry == float("inf") else expiry
