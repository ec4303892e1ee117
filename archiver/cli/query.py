"""`archiver query`: the archive in SQL, as a table, CSV or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output, csv_lines
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.query.engine import Answer

# A table is for eyes: what is longer is better read as CSV.
TABLE_ROWS_MAX = 500

BATCH_ROWS = 1_000
SQL_CHARACTERS_MAX = 1_000_000

# What every reader of JSON keeps exactly (RFC 8259, section 6).
_SAFE_INTEGER_MAX = 2**53 - 1

# Printable ASCII without the backslash; DuckDB writes other bytes of a BLOB as \xAB.
_SHOWN_BYTES = frozenset(range(0x20, 0x7F)) - {ord("\\")}

Format = Literal["table", "csv", "json"]


@click.command(
    epilog=examples(
        'archiver query "SELECT chat_id, count(*) FROM messages GROUP BY chat_id"',
        "archiver query \"SELECT sent_at, sender_name, text FROM current_messages WHERE dt = '2026-11-22'\"",
        "archiver query \"SELECT user_id, name FROM users_as_of('2026-11-22')\"",
        "archiver query \"SELECT sent_at, plain_text FROM messages_as_of('2026-11-23') WHERE chat_id = 'g:…'\"",
        'archiver query --format csv "FROM notifications" > notifications.csv',
        'echo "SHOW TABLES" | archiver query -',
    )
)
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How rows are printed; --json is the same as --format json.",
)
@config_options
def command(invocation: Invocation, *, sql: str, form: Format) -> int | None:
    """Ask the archive one question in SQL (DuckDB's), or - to read it from standard input.

    There is a view for each table: messages, files, events, observations, users, channels, groups, conversations, gaps.

    Of messages: current_messages (the newest version of each), transcript (the same to read, with the names of then), notifications
    (what apps and bots posted), message_audience (who could see each), message_absences (what Flock did not return when asked),
    unread_flockml (markup that could not be read), inferred_replies (what replies quote, as far as one can tell),
    identified_messages and provisional_uids (what came without a uid, and what it turned out to be).

    Of times: user_periods, channel_periods, conversation_periods, member_periods (from when until when), membership_changes,
    channel_renames, user_renames; and for one instant users_as_of('2026-11-22'), channels_as_of, conversations_as_of, members_as_of,
    messages_as_of.

    open_gaps is what may be missing. A query sees the newest commit and cannot change anything.
    """
    from archiver import wiring, wiring_query  # noqa: PLC0415 - the parts of a query are heavy, and --help needs none of them

    if sql == "-":
        sql = sys.stdin.read(SQL_CHARACTERS_MAX + 1)
    if len(sql) > SQL_CHARACTERS_MAX:
        raise UsageError(f"the query is longer than {SQL_CHARACTERS_MAX} characters")
    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    head = archive.head()
    with wiring_query.open_query(settings, archive, head) as engine:
        answer = engine.ask(sql)
        if invocation.output.as_json or form == "json":
            _print_json(invocation.output, answer, sequence=head.sequence)
        elif form == "csv":
            _print_csv(invocation.output, answer)
        else:
            _print_table(invocation.output, answer)
    return None


def _print_table(output: Output, answer: Answer) -> None:
    names = [column.name for column in answer.columns]
    rows = [list(map(_cell, row)) for row in islice(answer.rows, TABLE_ROWS_MAX + 1)]
    output.table(names, rows[:TABLE_ROWS_MAX])
    if len(rows) > TABLE_ROWS_MAX:
        output.note(f"There are more than {TABLE_ROWS_MAX} rows; --format csv or json prints all of them.")


def _print_csv(output: Output, answer: Answer) -> None:
    output.write(csv_lines([[column.name for column in answer.columns]]))
    while rows := list(islice(answer.rows, BATCH_ROWS)):
        output.write(csv_lines([_csv_cell(cell) for cell in row] for row in rows))


def _print_json(output: Output, answer: Answer, *, sequence: int) -> None:
    names = list(_distinct([column.name for column in answer.columns]))
    columns = [{"name": name, "type": column.type} for name, column in zip(names, answer.columns, strict=True)]
    output.write(f'{{"sequence": {sequence}, "columns": {_json(columns)}, "rows": ['.encode())
    separator = "\n"
    while rows := list(islice(answer.rows, BATCH_ROWS)):
        objects = [_json({name: _plain(value) for name, value in zip(names, row, strict=True)}) for row in rows]
        output.write((separator + ",\n".join(objects)).encode())
        separator = ",\n"
    output.write(b"\n]}\n")


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield names of which no two are equal: SQL may give two columns one name, a JSON object may not."""
    seen: set[str] = set()
    for name in names:
        distinct, number = name, 1
        while distinct in seen:
            number += 1
            distinct = f"{name}_{number}"
        seen.add(distinct)
        yield distinct


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: what JSON has no form for is text, and numbers that a reader would round are text too."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER_MAX else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(_text(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return _text(value)


def _text(value: Any) -> str:
    """Return a value of SQL as text: instants in ISO 8601 (Z for UTC), bytes as DuckDB writes them."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return "".join(chr(byte) if byte in _SHOWN_BYTES else f"\\x{byte:02X}" for byte in value)
    return str(value)


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(_plain(value)) if isinstance(value, (dict, list, tuple)) else _text(value)


def _cell(value: Any) -> object:
    return value if value is None or isinstance(value, (int, float, Decimal)) else _csv_cell(value)
