"""A policy over fifteen years of real chat, as of several days: a plan lists what SQL written by hand finds in the same files.

The data lies outside the repository (`tests.conftest.chat_data`).
"""

from __future__ import annotations

import gzip
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
import yaml

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Archive, Head, PlacedHold
from archiver.cli import main
from archiver.retention.plan import plan_policy, start_of
from archiver.retention.plan_document import Plan
from archiver.retention.policy import Policy
from archiver.store.local import LocalStore
from tests.retention.policies import policy

LINES = 2_000
LINES_SLOW = 250_000  # all of them
ZONE = "Europe/Berlin"

RULES = [
    {"name": "all chat", "delete": "5y"},
    {"name": "for the record", "match": {"channel": "import:irc:*-meeting"}, "retain": "10y"},
    {"name": "the wiki", "match": {"channel": "import:irc:*wiki"}, "retain": "2y", "delete": "7y"},
    {"name": "installing", "match": {"regex": r"(?i)\binstall\b"}, "delete": "1y6m"},
    {"name": "shouting", "match": {"regex": "!!!"}, "delete": "90d"},
]

# Written by hand from the law of the mode longest: the shortest deletion of a scoped rule, else that of the rule for everything; not
# before any retention has ended; an item of a local day runs until the end of the day on which its period ends.
SQL = r"""
WITH said AS (
    SELECT chat_id, message_uid, sent_at,
        CAST(timezone('Europe/Berlin', sent_at) AS DATE) AS sent_on,
        chat_id LIKE '%-meeting' AS is_meeting, chat_id LIKE '%wiki' AS is_wiki,
        regexp_matches(plain_text, '(?i)\binstall\b') AS is_installing, contains(plain_text, '!!!') AS is_shouting
    FROM read_parquet('{root}/messages/**/*.parquet', hive_partitioning = false)
), dated AS (
    SELECT *,
        CASE WHEN is_wiki OR is_installing OR is_shouting THEN least(
            CASE WHEN is_wiki THEN sent_on + INTERVAL 7 YEAR END,
            CASE WHEN is_installing THEN sent_on + INTERVAL 18 MONTH END,
            CASE WHEN is_shouting THEN sent_on + INTERVAL 90 DAY END
        ) ELSE sent_on + INTERVAL 5 YEAR END AS deletes_on,
        greatest(
            CASE WHEN is_meeting THEN sent_on + INTERVAL 10 YEAR END, CASE WHEN is_wiki THEN sent_on + INTERVAL 2 YEAR END
        ) AS retained_until
    FROM said
)
SELECT chat_id, message_uid, CAST(greatest(deletes_on, retained_until) AS DATE) + 1 AS goes_on
FROM dated
WHERE NOT (is_held AND {held})
"""
HELD = "chat_id LIKE '%ubuntu' AND sent_at >= TIMESTAMPTZ '2007-01-01 00:00:00+00' AND sent_at < TIMESTAMPTZ '2009-01-01 00:00:00+00'"


@pytest.fixture(scope="module", params=[LINES, pytest.param(LINES_SLOW, marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, chat_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with so many of the messages, which came in as a user brings them: spread over all years."""
    home = tmp_path_factory.mktemp("irc")
    (home / "archiver.yaml").write_text(yaml.safe_dump({"workspace": "acme"}))
    with gzip.open(chat_data / "irc" / "messages.jsonl.gz") as source:
        every = max(1, LINES_SLOW // request.param)
        lines = list(itertools.islice(source, 0, None, every))
    (home / "irc.jsonl").write_bytes(b"".join(lines))
    fields = {
        "uid": "id", "chat": "channel", "sender": "from", "sender_name": "from", "text": "text",
        "time": {"field": "ts_ms", "unit": "milliseconds"},
    }  # fmt: skip
    (home / "irc.yaml").write_text(yaml.safe_dump({"origin": "irc", "fields": fields}))
    words = ["import", "messages", str(home / "irc.jsonl"), "--mapping", str(home / "irc.yaml"), "--apply", "--quiet"]
    assert main([*words, "--config", str(home / "archiver.yaml")]) == 0
    return home / "archive"


def opened(folder: Path) -> tuple[Archive, Head]:
    archive = Archive.open(LocalStore(folder))
    return archive, archive.head()


def planned(archive: Archive, head: Head, rules: Policy, as_of: date) -> Plan:
    with ThreadPoolExecutor(2) as executor:
        return plan_policy(archive, head, rules, as_of=as_of, executor=executor)


def by_hand(folder: Path, *, held: str = "false") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    sql = SQL.replace("WHERE NOT (is_held AND {held})", f"WHERE NOT ({held})").replace("{root}", str(folder))
    connection.execute(f"CREATE TABLE going AS {sql}")
    return connection


@pytest.mark.parametrize(
    "as_of", [date(2006, 2, 28), date(2010, 1, 1), date(2014, 3, 31), date(2019, 10, 8), date(2026, 11, 27)]
)
@pytest.mark.timeout(900)
def test_a_plan_lists_what_sql_by_hand_finds(folder: Path, as_of: date) -> None:
    archive, head = opened(folder)
    plan = planned(archive, head, policy(*RULES, zone=ZONE), as_of)
    connection = by_hand(folder)
    items = plan.items
    connection.register("planned", items)
    total, due = (
        connection.execute("SELECT count(*), count(*) FILTER (goes_on <= ?) FROM going", [as_of]).fetchone() or ()
    )
    assert (head.rows["messages"], items.num_rows) == (total, due)
    wrong = connection.execute(
        """SELECT count(*) FROM planned p FULL JOIN (SELECT * FROM going WHERE goes_on <= ?) g USING (chat_id, message_uid)
        WHERE p.kind IS NULL OR g.goes_on IS NULL""",
        [as_of],
    ).fetchone()
    assert wrong == (0,)
    assert plan.header.counts == ({"message": due} if due else {})


@pytest.mark.parametrize("as_of", [date(2010, 1, 1), date(2013, 6, 30)])
@pytest.mark.timeout(900)
def test_what_leaves_later_is_what_sql_by_hand_finds_for_each_month(folder: Path, as_of: date) -> None:
    archive, head = opened(folder)
    later = planned(archive, head, policy(*RULES, zone=ZONE), as_of).header.later
    by_month: dict[str, int] = {}
    for due in later:
        by_month[due.month] = by_month.get(due.month, 0) + due.items
    found = by_hand(folder).execute(
        """SELECT strftime(goes_on, '%Y-%m') AS month, count(*) FROM going
        WHERE goes_on > ? AND goes_on < date_trunc('month', CAST(? AS DATE)) + INTERVAL 24 MONTH GROUP BY ALL ORDER BY ALL""",
        [as_of, as_of],
    )
    assert by_month == dict(found.fetchall())
    assert by_month


@pytest.mark.timeout(900)
def test_what_a_hold_covers_is_not_in_it_and_is_counted(folder: Path) -> None:
    archive, head = opened(folder)
    as_of = date(2019, 10, 8)
    before = planned(archive, head, policy(*RULES, zone=ZONE), as_of)
    scope: dict[str, Any] = {
        "chats": ("import:irc:*ubuntu",),
        "from_at_ms": start_of(date(2007, 1, 1), zone="UTC"),
        "until_ms": start_of(date(2009, 1, 1), zone="UTC"),
    }
    hold = PlacedHold(
        scope=HoldScope(**scope), reason="a case", actor="ann", placed_at=head.at or "", sequence=head.sequence
    )
    plan = planned(archive, msgspec.structs.replace(head, holds={"case": hold}), policy(*RULES, zone=ZONE), as_of)
    count = by_hand(folder, held=HELD).execute("SELECT count(*) FROM going WHERE goes_on <= ?", [as_of]).fetchone()
    assert (plan.items.num_rows,) == count
    assert plan.header.held == before.items.num_rows - plan.items.num_rows
    assert plan.header.held > 0
