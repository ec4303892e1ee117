"""Which few of many messages something may be known of by their uid: found by column, so that the others are not looked up one by one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc


class ByUid:
    """By chat the uids of which something is known."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        found: dict[str, set[str]] = {}
        for chat_id, uid in known:
            found.setdefault(chat_id, set()).add(uid)
        self._known = {chat_id: sorted(uids) for chat_id, uids in found.items()}

    def among(self, uids: pa.StringArray, chats: Iterable[str], further: Iterable[str]) -> dict[int, str]:
        """Return by their places, in order, those of some uids that are known in one of the chats, or are among ``further`` ones."""
        if not len(uids):
            return {}
        bounds = pc.min_max(uids).as_py()
        asked = set(further)
        for chat_id in chats:
            asked.update(_between(self._known.get(chat_id, ()), bounds["min"], bounds["max"]))
        if not asked:
            return {}
        places = pc.indices_nonzero(pc.is_in(uids, value_set=pa.array(asked, uids.type)))
        return dict(zip(places.to_pylist(), uids.take(places).to_pylist(), strict=True))


def _between(ordered: Sequence[str], least: str, greatest: str) -> Sequence[str]:
    """Return those of sorted uids from one to another: of a long time no more than some messages may bear."""
    return ordered[bisect_left(ordered, least) : bisect_right(ordered, greatest)]
