"""`archiver query`: the archive in SQL, as a table, CSV or JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output, csv_lines
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive.reader import Head
    from archiver.query.answer import Answer
    from archiver.settings import Settings

# A table is for eyes: what is longer is better read as CSV.
TABLE_ROWS_MAX = 500

BATCH_ROWS = 1_000
SQL_CHARACTERS_MAX = 1_000_000

# What every reader of JSON keeps exactly (RFC 8259, section 6).
_SAFE_INTEGER_MAX = 2**53 - 1

# Printable ASCII without the backslash; DuckDB writes other bytes of a BLOB as \xAB.
_SHOWN_BYTES = frozenset(range(0x20, 0x7F)) - {ord("\\")}

Format = Literal["table", "csv", "json"]
Engine = Literal["duckdb", "athena"]


@click.command(
    epilog=examples(
        'archiver query "SELECT chat_id, count(*) FROM messages GROUP BY chat_id"',
        "archiver query \"SELECT sent_at, sender_name, text FROM current_messages WHERE dt = '2026-11-22'\"",
        "archiver query \"SELECT user_id, name FROM users_as_of('2026-11-22')\"",
        "archiver query \"SELECT sent_at, plain_text FROM messages_as_of('2026-11-23') WHERE chat_id = 'g:…'\"",
        'archiver query --format csv "FROM notifications" > notifications.csv',
        'echo "SHOW TABLES" | archiver query -',
        "archiver query --engine athena --bytes-max 1000000000 \"SELECT count(*) FROM messages WHERE dt = DATE '2026-11-22'\"",
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
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "athena"]),
    default="duckdb",
    show_default=True,
    help="Who answers: DuckDB here, or Athena, with its SQL and at a price.",
)
@click.option("--bytes-max", type=click.IntRange(min=1), help="Most bytes that Athena may read; else athena.bytes_max.")
@config_options
def command(invocation: Invocation, *, sql: str, form: Format, engine: Engine, bytes_max: int | None) -> int | None:
    """Ask the archive one question in SQL (DuckDB's), or - to read it from standard input.

    There is a view for each table: messages, files, events, observations, users, channels, groups, conversations, gaps.

    Of messages: current_messages (the newest version of each), transcript (the same to read, with the names of then), notifications
    (what apps and bots posted), deleted_or_missing (what Flock did not return when last asked), message_absences (the same from when
    until when), message_audience (who could see each), unread_flockml (markup that could not be read), inferred_replies (what replies
    quote, as far as one can tell), identified_messages, provisional_messages and provisional_uids (what came without a uid, and what
    it turned out to be).

    Of days: conversation_day (what each conversation holds each day, and whether it was read again); conversation_day_in('Asia/Tokyo').

    Of times: user_periods, channel_periods, conversation_periods, member_periods (from when until when), membership_changes,
    channel_renames, user_renames; and for one instant users_as_of('2026-11-22'), channels_as_of, conversations_as_of, members_as_of,
    messages_as_of, audience_as_of, and as_of (what was shown then, with the names of then and who could see it).

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
    wanted: Format = "json" if invocation.output.as_json else form
    if engine == "athena":
        _ask_athena(invocation.output, settings, head, sql, form=wanted, bytes_max=bytes_max)
        return None
    with wiring_query.open_query(settings, archive, head) as opened:
        _print(invocation.output, opened.ask(sql), wanted, sequence=head.sequence)
    return None


def _ask_athena(
    output: Output, settings: Settings, head: Head, sql: str, *, form: Format, bytes_max: int | None
) -> None:
    from archiver import wiring_query  # noqa: PLC0415 - as above

    athena = wiring_query.open_athena(settings, head, bytes_max=bytes_max)
    bound, price = athena.estimate(sql)
    output.note(f"Athena reads at most {bound.bytes:,} bytes for this, which costs at most ${price:.6f}.")
    shown = wiring_query.registered_sequence(settings)
    if shown is None:
        raise UsageError(
            f"Athena has no tables of this archive in the database {settings.athena.database}",
            next_step="run `archiver catalog athena --register`",
        )
    if shown != head.sequence:
        output.warn(
            f"archiver: warning: Athena's tables show commit {shown}, the archive's newest is {head.sequence}; "
            "`archiver catalog athena --register` brings them to it"
        )
    answer = athena.ask(sql)
    cost = athena.cost
    assert cost is not None
    facts = {"query_id": cost.query_id, "bytes_read": cost.bytes, "price": cost.price, "bytes_at_most": bound.bytes}
    _print(output, answer, form, sequence=shown, further={"athena": facts})
    output.note(f"Athena read {cost.bytes:,} bytes, which costs ${cost.price:.6f} (query {cost.query_id}).")


def _print(
    output: Output, answer: Answer, form: Format, *, sequence: int, further: Mapping[str, object] = MappingProxyType({})
) -> None:
    if form == "json":
        _print_json(output, answer, sequence=sequence, further=further)
        return
    first = next(answer.rows, None)
    if first is None:
        output.note(f"No rows: commit {sequence} holds nothing that this asks for.")
    rows = answer.rows if first is None else chain([first], answer.rows)
    answer = dataclasses.replace(answer, rows=rows)
    if form == "csv":
        _print_csv(output, answer)
    else:
        _print_table(output, answer)


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


def _print_json(output: Output, answer: Answer, *, sequence: int, further: Mapping[str, object]) -> None:
    names = list(_distinct([column.name for column in answer.columns]))
    columns = [{"name": name, "type": column.type} for name, column in zip(names, answer.columns, strict=True)]
    output.write(f'{{"sequence": {sequence}, "columns": {_json(columns)}, "rows": ['.encode())
    separator = "\n"
    while rows := list(islice(answer.rows, BATCH_ROWS)):
        objects = [_json({name: _plain(value) for name, value in zip(names, row, strict=True)}) for row in rows]
        output.write((separator + ",\n".join(objects)).encode())
        separator = ",\n"
    facts = "".join(f", {_json(name)}: {_json(value)}" for name, value in further.items())
    output.write(f"\n]{facts}}}\n".encode())


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
