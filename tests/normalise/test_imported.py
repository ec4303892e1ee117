"""Imported records as messages: the columns say what the record says, and are enough to make the message of a row again."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.tables import messages_to_table, rows_of
from archiver.normalise.content import digest_of, without_signature
from archiver.normalise.imported import ImportedMessage, message_of_row, said_columns, said_text, to_message
from archiver.normalise.message import read_content

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.lists(texts.filter(bool), max_size=3)
attachments = st.lists(
    st.fixed_dictionaries(
        {
            "downloads": st.lists(
                st.fixed_dictionaries({}, optional={"src": texts, "filename": texts, "size": st.integers(0, 10)})
            )
        }
    ),
    max_size=2,
)
said = st.builds(
    ImportedMessage,
    chat_id=st.just("import:x:c"),
    chat_kind=st.just("channel"),
    uid=texts.filter(bool),
    sent_at_ms=st.integers(0, 2_000_000_000_000),
    sender_id=texts,
    raw=texts,
    text=texts,
    flockml=st.none() | texts,
    notification=st.none() | texts,
    send_as_name=st.none() | texts,
    on_behalf_of=st.none() | texts,
    app_id=st.none() | texts,
    mentions=st.none() | ids,
    visible_to=st.none() | ids,
    attachments=st.none() | attachments,
)


@given(said)
def test_a_row_makes_the_same_message_again(record: ImportedMessage) -> None:
    message = to_message(record, observed_at_ms=5, captured_by="import:x")
    [row] = rows_of(messages_to_table([message]))
    assert message_of_row(row, observed_at_ms=row["observed_at"], sent_at_ms=row["sent_at"]) == message


@given(said)
def test_the_digest_is_of_what_the_columns_say_and_the_record_stays_as_it_was(record: ImportedMessage) -> None:
    message = to_message(record, observed_at_ms=5, captured_by="import:x")
    assert message.raw == record.raw
    assert message.raw_digest == sha256(record.raw.encode()).hexdigest()
    assert message.content_digest == digest_of(read_content(said_text(said_columns(message))))


def test_what_a_message_says_is_the_same_from_flock_and_from_a_file() -> None:
    record = ImportedMessage(
        chat_id="g:1", chat_kind="channel", uid="1", sent_at_ms=1, sender_id="u:a", raw="{}", text="hello",
        mentions=["u:b"],
    )  # fmt: skip
    assert to_message(record, observed_at_ms=1, captured_by="f").content_digest == digest_of(
        {"text": "hello", "mentions": ["u:b"], "uid": "1"}
    )


def test_the_token_of_an_export_says_nothing() -> None:
    """Each export of a workspace has another token in its links."""
    one, other = (
        to_message(
            ImportedMessage(
                chat_id="c", chat_kind="channel", uid="1", sent_at_ms=1, sender_id="u", raw=token,
                attachments=[{"downloads": [{"src": f"https://files.slack.com/a/b.png?t={token}"}]}],
            ),
            observed_at_ms=1, captured_by="f",
        )
        for token in ("xoxe-1", "xoxe-2")
    )  # fmt: skip
    assert one.content_digest == other.content_digest
    assert one.files != other.files
    assert without_signature("https://a.example/b?t=12&x=1") == "https://a.example/b?t=12&x=1"
    assert msgspec.structs.replace(one, raw="") != one
