"""The simulator in a process of its own, with a team that has talked; it tells where it is and which messages can be fetched.

    python benchmarks/sides/simulated_flock.py MESSAGES

It prints one JSON document and runs until standard input ends. ``wanted`` are the messages that need nothing but one call: not deleted,
said in a channel, shown to everybody there, without a file; each with its channel and a user who may read it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.simulator.server import Simulator

# A third of what a seeded team says is said in one-to-one chats, is limited to some, was deleted, or has a file.
SPARE_SHARE = 0.6


def main(messages: int) -> None:
    with Simulator(seed=3, people=40, channels=20, messages=int(messages * (1 + SPARE_SHARE)), days=20) as flock:
        flock.play_all(push=False)
        members: dict[str, list[str]] = defaultdict(list)
        uids: dict[str, list[str]] = defaultdict(list)
        for row in flock.truth("membership", "message"):
            if row["kind"] == "membership":
                if row["until_ms"] is None and row["user_id"] in flock.user_tokens:
                    members[row["channel_id"]].append(row["user_id"])
            elif row["deleted_at_ms"] is None and _is_plain(row["versions"][-1]):
                uids[row["chat_id"]].append(row["uid"])
        wanted = []
        left = messages
        for chat_id, named in uids.items():
            if chat_id in members and left:
                wanted.append({"chat": chat_id, "user": members[chat_id][0], "uids": named[:left]})
                left -= len(named[:left])
        if left:
            raise SystemExit(f"the team has {left} messages too few")
        print(json.dumps({"base_url": flock.base_url, "tokens": flock.user_tokens, "wanted": wanted}), flush=True)
        sys.stdin.read()


def _is_plain(version: dict[str, object]) -> bool:
    return not version.get("visibleTo") and not version.get("attachments")


if __name__ == "__main__":
    main(int(sys.argv[1]))
