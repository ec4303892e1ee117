"""`archiver retention plan`, `apply`, `explain` and `erase` as people use them: on a real archive in a folder, from plan to certificate."""

from __future__ import annotations

import io
import json
import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.cli import main
from archiver.run.lock import hold as run_lock
from archiver.store.local import LocalStore
from tests import avro
from tests.retention.lived import added, at_ms, attached, held, lived, sent, stated_uid

OLD = date(2015, 3, 1)
OLD_UID = stated_uid(OLD)
KEPT_UID = stated_uid(OLD, 1)
POLICY = {
    "name": "acme",
    "zone": "Europe/Berlin",
    "rules": [
        {"name": "all chat", "delete": "1y"},
        {"name": "for the regulator", "match": {"channel": "g:trading"}, "retain": "100y"},
    ],
}
ANN = {
    "user_id": "u:ann", "valid_from": at_ms(OLD), "first_name": "Ann", "email": "Ann@acme.com", "captured_by": "x", "raw": "{}",
    "state_digest": "00",
}  # fmt: skip

UNREAD = {
    "received_at": at_ms(OLD), "spool_id": "s", "sequence": 17, "feed": "general", "feed_kind": "webhook", "verified": "webhook-token",
    "outcome": "unparsed", "error": "not JSON", "body_digest": "00ff", "body": b"{",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of an old message with an edit and a file, one that a rule retains, one from a long time to come."""
    rows = [
        sent(OLD_UID, OLD, text="the zebra crossing"),
        sent(KEPT_UID, OLD, chat_id="g:trading", mentions=["u:ann"], sender_id="u:bob"),
        sent("m-9", date(2150, 1, 1), sender_id="u:bob"),
    ]
    commits = [
        {"messages": rows, "files": [attached(OLD_UID, OLD)], "users": [ANN]},
        {"messages": [sent(OLD_UID, date(2015, 4, 1), version=2, text="the zebra crossing, edited")]},
    ]
    lived(commits, store=LocalStore(tmp_path / "archive"))
    settings = {"workspace": "acme", "retention": {"policy": "policy.yaml"}}
    (tmp_path / "archiver.yaml").write_text(yaml.safe_dump(settings))
    write_policy(tmp_path)
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return tmp_path


def configure(folder: Path, **settings: Any) -> None:
    known = yaml.safe_load((folder / "archiver.yaml").read_text())
    (folder / "archiver.yaml").write_text(yaml.safe_dump(known | settings))


def unpacked(folder: Path) -> bytes:
    """All bytes of the files below a folder, as they are and with the blocks of Avro files unpacked."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.append(path.read_bytes())
        if path.suffix == ".avro":
            found.append(avro.blocks(path.read_bytes()))
    return b"\n".join(found)


def write_policy(folder: Path, **changes: Any) -> None:
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY | changes))


def opened(folder: Path) -> tuple[Archive, Head]:
    archive = Archive.open(LocalStore(folder / "archive"))
    return archive, archive.head()


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    found = main(["retention", *words, "--json"])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return json.loads(printed.out)


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    found = main(["retention", *words])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return printed.out if code == 0 else printed.err


class TestPlan:
    def test_says_what_would_go_and_stores_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        told = document(capsys, "plan")
        assert told["plan"]["counts"] == {"message": 1, "file": 1}
        assert (told["plan"]["rows"], told["plan"]["totals"]) == (3, {"messages": 4, "files": 1})
        assert [(one["rule"], one["kind"], one["month"], one["items"]) for one in told["by_rule_and_month"]] == [
            ("all chat", "file", "2015-03", 1), ("all chat", "message", "2015-04", 1),
        ]  # fmt: skip
        archive, _ = opened(folder)
        assert archive.store.stat(layout.plan_key(told["digest"]))
        assert told["locked"] == {"looked_at": 3, "objects": 0, "until": None, "legal_holds": 0}

    def test_prints_the_digest_and_what_to_do(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan", "--no-store")["digest"]
        text = shown(capsys, "plan")
        assert f"digest  {digest}" in text
        assert f"archiver retention apply {digest[:16]} --approved-by NAME" in text
        assert "1 file, 1 message" in text

    def test_of_another_policy_what_to_do_names_it_and_can_be_done(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        policy = (folder / "policy.yaml").rename(folder / "another policy.yaml")
        (command,) = re.findall(
            "`archiver retention (.*) --approved-by NAME`", shown(capsys, "plan", "--policy", str(policy))
        )
        assert "It stays as certificates/" in shown(capsys, *shlex.split(command), "--approved-by", "Ann")

    def test_made_again_on_the_same_day_it_is_the_same(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("plan", "--as-of", "2026-11-27")
        assert document(capsys, *words)["digest"] == document(capsys, *words)["digest"]

    def test_as_of_another_day(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        told = document(capsys, "plan", "--as-of", "2016-04-01", "--no-store")
        assert told["plan"]["counts"] == {}
        assert [(due["month"], due["kind"]) for due in told["plan"]["later"]] == [
            ("2016-04", "file"),
            ("2016-04", "message"),
        ]
        assert document(capsys, "plan", "--as-of", "2016-04-02", "--no-store")["plan"]["counts"] == {
            "message": 1,
            "file": 1,
        }
        assert not list((folder / "archive").glob("plans/*"))

    @pytest.mark.parametrize("day", ["yesterday", "2026-11-31", "2026-11-27T00:00:00Z"])
    def test_a_day_is_a_day(self, day: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert day in document(capsys, "plan", "--as-of", day, code=2)["error"]["what"]

    def test_what_a_hold_keeps_is_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        held(*opened(folder), "smith", custodians=("u:ann",))
        told = document(capsys, "plan")
        assert (told["plan"]["counts"], told["plan"]["held"]) == ({}, 2)
        assert [(one["hold"], one["items"]) for one in told["plan"]["saved"]] == [("smith", 2)]
        assert "smith" in shown(capsys, "plan")

    def test_a_limit_that_it_passes_is_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_policy(folder, limits={"rows_max": 2, "percent_max": 50})
        told = document(capsys, "plan")
        assert len(told["limits_passed"]) == 2
        assert "It cannot be applied: it has 3 rows, and the policy's limit is 2" in shown(capsys, "plan")

    def test_a_policy_that_is_not_there_is_named(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "policy.yaml").unlink()
        assert "policy.yaml" in document(capsys, "plan", code=2)["error"]["what"]


class TestApply:
    def test_does_exactly_the_plan_and_leaves_a_certificate(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, "plan")["digest"]
        told = document(capsys, "apply", digest[:12], "--approved-by", "Ann Smith")
        certificate = told["certificate"]
        assert (certificate["plan"], certificate["approved_by"]) == (digest, "Ann Smith")
        assert certificate["items"] == {"message": 1, "file": 1}
        archive, head = opened(folder)
        assert head.disposed["messages"] == 2
        assert archive.store.stat(told["certificate_key"])
        assert main(["verify"]) == 0
        data = b"".join(readable(path) for path in sorted((folder / "archive").rglob("*")) if path.is_file())
        assert b"zebra" not in data
        assert document(capsys, "explain", OLD_UID)["state"] == "disposed"

    def test_takes_the_words_of_what_it_removes_out_of_the_index_of_searches(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def shards() -> set[str]:
            return {path.parent.name for path in (folder / "state" / "search").rglob("meta.json")}

        assert main(["search", "zebra", "--quiet"]) == 0
        before = shards()
        digest = document(capsys, "plan")["digest"]
        told = document(capsys, "apply", digest, "--approved-by", "ann")
        # Words of what is gone stay in a shard of it, so each was made anew, of what stays.
        assert before
        assert not before & shards()
        assert told["published"]["index"]["counts"]["rows_indexed"] > 0
        assert main(["search", "zebra", "--quiet", "--count"]) == 0

    def test_ends_with_every_catalog_at_the_commit_and_no_trace_of_what_went_in_any(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(folder, catalogs={"iceberg": True, "duckdb": "all.sql"})
        assert main(["run", "--only", "catalogs"]) == 0
        before = unpacked(folder / "archive" / "catalog")
        assert OLD_UID.encode() in before
        digest = document(capsys, "plan")["digest"]
        told = document(capsys, "apply", digest, "--approved-by", "ann")
        assert told["published"]["catalogs"]["counts"]["published"] == 2
        capsys.readouterr()
        assert main(["status", "--json"]) == 0
        standings = {one["name"]: one["sequence"] for one in json.loads(capsys.readouterr().out)["catalogs"]}
        assert standings == {"duckdb": told["head"]["sequence"], "iceberg": told["head"]["sequence"]}

        after = unpacked(folder / "archive" / "catalog") + (folder / "all.sql").read_bytes()
        _, head = opened(folder)
        gone = [one["key"] for one in told["certificate"]["objects"] if one["key"] not in head.files]
        assert gone
        for trace in ("zebra", OLD_UID, *gone):
            assert trace.encode() not in after
        assert KEPT_UID.encode() in after
        with duckdb.connect() as connection:
            connection.execute((folder / "all.sql").read_text())
            assert connection.execute("SELECT count(*) FROM messages").fetchone() == (2,)

    def test_a_catalog_that_fails_is_told_and_the_disposal_stands(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(folder, catalogs={"duckdb": "not/there.sql"})
        digest = document(capsys, "plan")["digest"]
        assert main(["retention", "apply", digest, "--approved-by", "ann"]) == 0
        printed = capsys.readouterr()
        assert "Certificate of disposal" in printed.out
        assert "duckdb does not show commit 4: " in printed.err
        assert "archiver run --only index --only catalogs" in printed.err

    def test_a_catalog_that_is_published_by_hand_is_named_with_its_command(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive, _ = opened(folder)
        archive.store.replace("catalog/iceberg/sql/flock_archive/tables.json", b'{"sequence": 1}')
        digest = document(capsys, "plan")["digest"]
        assert main(["retention", "apply", digest, "--approved-by", "ann"]) == 0
        printed = capsys.readouterr()
        assert "iceberg shows commit 1 and is not under `catalogs:`; `archiver catalog iceberg`" in printed.err

    def test_prints_the_certificates_facts(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        text = shown(capsys, "apply", digest, "--approved-by", "Ann Smith")
        assert f"Certificate of disposal, plan {digest}" in text
        assert "approved by  Ann Smith" in text
        assert f"certificates/{digest}.json" in text

    def test_a_dry_run_says_what_would_go_and_changes_nothing(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, "plan")["digest"]
        before = objects(folder)
        told = document(capsys, "apply", digest, "--approved-by", "ann", "--dry-run")
        assert told["locked"] == {"looked_at": 3, "objects": 0, "until": None, "legal_holds": 0}
        assert (told["items"], told["items_held"]) == ({"message": 1, "file": 1}, 0)
        assert objects(folder) == before

    def test_a_dry_run_tells_what_would_be_refused(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        added(*opened(folder), {"messages": [sent("m-10", OLD)]})
        error = document(capsys, "apply", digest, "--approved-by", "ann", "--dry-run", code=5)["error"]
        assert "came since" in error["what"]

    def test_a_second_time_it_tells_what_the_first_did_and_changes_nothing(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, "plan")["digest"]
        first = document(capsys, "apply", digest, "--approved-by", "ann")
        assert (first["was_applied_before"], first["erased"]) == (False, True)
        before = objects(folder)
        write_policy(folder, description="the policy may have moved since")
        again = document(capsys, "apply", digest, "--approved-by", "bob")
        assert (again["was_applied_before"], again["erased"]) == (True, True)
        assert {key: again[key] for key in ("certificate", "certificate_key", "sequence", "head")} == {
            key: first[key] for key in ("certificate", "certificate_key", "sequence", "head")
        }
        text = shown(capsys, "apply", digest, "--approved-by", "bob")
        assert "was applied already" in text
        assert "approved by  ann" in text
        rehearsed = document(capsys, "apply", digest, "--approved-by", "bob", "--dry-run")
        assert (rehearsed["applied_in"], rehearsed["items"]) == (first["sequence"], {})
        assert "was applied already, in commit" in shown(capsys, "apply", digest, "--approved-by", "bob", "--dry-run")
        assert objects(folder) == before

    def test_refused_when_the_archive_moved(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        added(*opened(folder), {"messages": [sent("m-10", OLD)]})
        before = objects(folder)
        error = document(capsys, "apply", digest, "--approved-by", "ann", code=5)["error"]
        assert "archiver retention plan" in error["next_step"]
        assert objects(folder) == before

    def test_refused_when_the_policy_moved(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        write_policy(folder, description="the same rules, and another text")
        assert "the policy now is" in document(capsys, "apply", digest, "--approved-by", "ann", code=5)["error"]["what"]

    def test_refused_before_its_day(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan", "--as-of", "2150-06-01")["digest"]
        assert "not due yet" in document(capsys, "apply", digest, "--approved-by", "ann", code=5)["error"]["what"]

    def test_refused_beyond_a_limit(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_policy(folder, limits={"rows_max": 2})
        digest = document(capsys, "plan")["digest"]
        before = objects(folder)
        assert "rows_max" in document(capsys, "apply", digest, "--approved-by", "ann", code=5)["error"]["what"]
        assert objects(folder) == before

    def test_refused_while_a_run_is_under_way(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        before = objects(folder)
        with run_lock(folder / "state"):
            error = document(capsys, "apply", digest, "--approved-by", "ann", code=5)["error"]
        assert "another run holds" in error["what"]
        assert objects(folder) == before

    def test_a_hold_placed_since_takes_items_out(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        added(*opened(folder), {"messages": [sent("m-10", OLD, sender_id="u:bob")]})
        digest = document(capsys, "plan")["digest"]
        held(*opened(folder), "smith", custodians=("u:bob",))
        assert document(capsys, "apply", digest, "--approved-by", "ann", "--dry-run")["held"] == {"smith": 1}
        told = document(capsys, "apply", digest, "--approved-by", "ann")
        assert told["certificate"]["items"] == {"message": 1, "file": 1}
        assert told["certificate"]["items_held"] == 1
        answer = document(capsys, "explain", "m-10")
        assert answer["state"] == "held"
        assert "but it stayed" in " ".join(answer["sentences"])

    @pytest.mark.parametrize("digest", ["", "0123", "xyz", "../../../etc/passwd", "0" * 64])
    def test_no_digest_of_a_plan(self, digest: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        error = document(capsys, "apply", digest, "--approved-by", "ann", code=2)["error"]
        assert "archiver retention plan" in error["next_step"]

    @pytest.mark.parametrize("name", ["", "  ", "ann\x1b[2J"])
    def test_somebody_must_have_approved_it(self, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        error = document(capsys, "apply", digest, "--approved-by", name, code=2)["error"]
        assert "--approved-by names nobody" in error["what"]


class TestExplain:
    def test_one_that_is_due(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = document(capsys, "explain", OLD_UID)
        assert answer["state"] == "due"
        assert [(item["kind"], item["state"], item["rows"]) for item in answer["items"]] == [
            ("message", "due", 2),
            ("file", "due", 1),
        ]
        assert answer["items"][0]["goes_at"] == "2016-04-01T22:00:00.000Z"
        assert "is due since 2016-04-02" in answer["sentences"][0]

    def test_one_that_a_rule_retains(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = document(capsys, "explain", KEPT_UID)
        assert answer["state"] == "waiting"
        assert "stays until the end of 2115-03-01" in answer["sentences"][0]
        assert "for the regulator" in " ".join(answer["sentences"])
        rules = answer["items"][0]["explanation"]["rules"]
        assert [(rule["rule"], rule["is_matching"]) for rule in rules] == [
            ("all chat", True),
            ("for the regulator", True),
        ]

    def test_one_that_a_hold_keeps(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        held(*opened(folder), "smith", custodians=("u:ann",))
        answer = document(capsys, "explain", OLD_UID)
        assert (answer["state"], answer["items"][0]["goes_at"]) == ("held", None)
        text = shown(capsys, "explain", OLD_UID)
        assert "The hold smith covers it: a case (placed by test" in text
        assert "Without the hold it would go on 2016-04-02 by the rule all chat" in text

    def test_one_that_nothing_lets_go(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_policy(folder, rules=[{"name": "other", "match": {"channel": "g:other"}, "delete": "1y"}])
        answer = document(capsys, "explain", OLD_UID)
        assert answer["state"] == "kept"
        assert "No rule matches it, so it is kept" in " ".join(answer["sentences"])

    def test_a_push_that_could_not_be_read(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_policy(folder, rules=[{"name": "all", "delete": "1y"}])
        added(*opened(folder), {"events": [UNREAD]})
        answer = document(capsys, "explain", "s:17")
        assert [(item["kind"], item["state"], item["push"]) for item in answer["items"]] == [
            ("event", "due", "s:17:00ff")
        ]
        assert answer["sentences"][0].startswith(
            "The push s:17:00ff, which names no message or could not be read, received at 2015-03-01"
        )
        assert "What every rule says of the push" in shown(capsys, "explain", "s:17")
        digest = document(capsys, "plan")["digest"]
        told = document(capsys, "apply", digest, "--approved-by", "ann")
        assert told["certificate"]["rows"]["events"] == 1
        assert "1 event" in shown(capsys, "certificate", digest)
        assert "The push was disposed of" in " ".join(document(capsys, "explain", "s:17")["sentences"])

    def test_one_that_is_unknown(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = document(capsys, "explain", "m-nobody")
        assert (answer["state"], answer["items"], answer["disposed"]) == ("unknown", [], [])
        assert "No message with the uid m-nobody" in shown(capsys, "explain", "m-nobody")

    def test_one_that_was_disposed_of(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        document(capsys, "apply", digest, "--approved-by", "Ann Smith")
        text = shown(capsys, "explain", OLD_UID)
        assert "The message was disposed of at" in text
        assert f"plan {digest}, approved by Ann Smith. Certificate: certificates/{digest}.json" in text

    def test_a_uid_of_several_chats_needs_the_chat(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        added(*opened(folder), {"messages": [sent(OLD_UID, OLD, chat_id="g:random")]})
        error = document(capsys, "explain", OLD_UID, code=2)["error"]
        assert "--chat: g:general, g:random" in error["next_step"]
        assert document(capsys, "explain", OLD_UID, "--chat", "g:random")["items"][0]["rows"] == 1

    def test_it_says_what_the_plan_does(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for day in ("2016-04-01", "2016-04-02", "2115-03-02"):
            planned = document(capsys, "plan", "--as-of", day, "--no-store")["plan"]["counts"].get("message", 0)
            states = [document(capsys, "explain", uid, "--as-of", day)["state"] for uid in (OLD_UID, KEPT_UID)]
            assert states.count("due") == planned


class TestCertificate:
    def test_shows_what_became_of_a_plan_and_that_it_is_so(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, "plan")["digest"]
        done = document(capsys, "apply", digest, "--approved-by", "ann")
        told = document(capsys, "certificate", digest[:12])
        assert told["certificate"] == done["certificate"]
        assert (told["ok"], told["differs"], told["still_there"]) == (True, [], [])
        assert (told["sequence"], told["erased"]) == (done["sequence"], done["sequence"] + 1)
        text = shown(capsys, "certificate", digest)
        assert "approved by  ann" in text
        assert f"Commit {done['sequence']} of the ledger names it" in text
        assert (
            f"Of {told['looked_for']} objects that went nothing is left in the store of {told['looked_for']}." in text
        )

    def test_says_where_it_is_not_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, "plan")["digest"]
        document(capsys, "apply", digest, "--approved-by", "ann")
        path = folder / "archive" / layout.certificate_key(digest)
        path.write_text(path.read_text().replace('"approved_by":"ann"', '"approved_by":"bob"'))
        told = document(capsys, "certificate", digest, code=4)
        assert told["ok"] is False
        assert any("who approved is bob by the certificate and ann by commit" in what for what in told["differs"])

    def test_of_a_plan_that_was_not_applied_there_is_none(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, "plan")["digest"]
        error = document(capsys, "certificate", digest, code=2)["error"]
        assert f"has no certificate {digest}" in error["what"]


class TestErase:
    WORDS = ("erase", "--subject", "ann@acme.com", "--reason", "request of 2026-11-20")

    def test_plans_everything_that_a_person_sent_and_their_entry(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document(capsys, *self.WORDS)
        assert told["user_ids"] == ["u:ann"]
        assert (told["plan"]["kind"], told["plan"]["subject"]) == ("erase", "ann@acme.com")
        assert told["plan"]["counts"] == {"message": 1, "file": 1, "user": 1}
        assert told["remains"] == {"mentions": 1, "direct": 0, "memberships": 0, "conversations": 0}

    def test_what_a_bot_posted_on_their_behalf_is_theirs_in_all_its_versions(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As it is of a custodian's for a hold; also of somebody who sent nothing with their own hands."""
        by_bot = {"sender_id": "u:bot", "app_id": "a:poll", "mentions": ["u:eve"]}
        uid, other_uid = stated_uid(OLD, 2), stated_uid(OLD, 3)
        added(
            *opened(folder),
            {
                "messages": [
                    sent(uid, OLD, text="the llama asks", on_behalf_of="u:eve", **by_bot),
                    sent(uid, date(2015, 4, 1), version=2, text="the llama asked", **by_bot),
                    sent(other_uid, OLD, text="nobody's llama", **by_bot),
                ],
                "files": [attached(uid, OLD), attached(other_uid, OLD)],
            },
        )
        told = document(capsys, "erase", "--subject", "u:eve", "--reason", "request 4")
        assert (told["plan"]["counts"], told["plan"]["rows"]) == ({"message": 1, "file": 1}, 3)
        assert told["remains"]["mentions"] == 1

        done = document(capsys, "apply", told["digest"], "--approved-by", "the data protection officer")
        assert done["certificate"]["rows"] == {"messages": 2, "files": 1}
        assert main(["verify"]) == 0

    def test_is_applied_as_any_plan(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = document(capsys, *self.WORDS)["digest"]
        told = document(capsys, "apply", digest, "--approved-by", "the data protection officer")
        assert told["certificate"]["items"] == {"message": 1, "file": 1, "user": 1}
        assert main(["verify"]) == 0
        data = b"".join(readable(path) for path in sorted((folder / "archive" / "users").rglob("*")) if path.is_file())
        assert b"Ann" not in data
        assert "the person asked for it" in shown(capsys, "explain", OLD_UID)

    def test_what_a_rule_still_retains_stays_and_is_told(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("erase", "--subject", "u:bob", "--reason", "request 2")
        told = document(capsys, *words)
        assert told["plan"]["counts"] == {"message": 1}
        assert [(due["month"], due["rule"], due["items"]) for due in told["plan"]["later"]] == [
            ("2115-03", "for the regulator", 1)
        ]
        assert "Retain periods keep 1 items that they sent, the last until 2115-03" in shown(capsys, *words)

    def test_what_a_hold_covers_stays_and_is_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        held(*opened(folder), "smith", custodians=("ann@acme.com",))
        told = document(capsys, *self.WORDS)
        assert (told["plan"]["counts"], told["plan"]["held"], told["directory_held_by"]) == ({}, 2, ["smith"])
        assert "A hold keeps 2 items" in shown(capsys, *self.WORDS)

    def test_what_this_machine_remembers_of_people_goes_too(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        remembered = folder / "state" / "states" / "users.msgpack"
        remembered.parent.mkdir(parents=True)
        remembered.write_bytes(b"Ann")
        digest = document(capsys, *self.WORDS)["digest"]
        document(capsys, "apply", digest, "--approved-by", "the data protection officer")
        assert not remembered.exists()

    def test_is_refused_if_a_hold_was_placed_on_the_person_since(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = document(capsys, *self.WORDS)["digest"]
        held(*opened(folder), "smith", custodians=("u:ann",))
        before = objects(folder)
        for further in ((), ("--dry-run",)):
            error = document(capsys, "apply", digest, "--approved-by", "ann", *further, code=5)["error"]
            assert "whom smith holds" in error["what"]
        assert objects(folder) == before

    @pytest.mark.parametrize(
        ("subject", "told"),
        [
            ("nobody@acme.com", "knows nobody called 'nobody@acme.com'"),
            ("u:nobody", "knows nobody called 'u:nobody'"),
            ("", "--subject must be"),
            ("ann\x07", "--subject must be"),
        ],
    )
    def test_somebody_whom_nobody_knows(
        self, subject: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert told in document(capsys, "erase", "--subject", subject, "--reason", "request 3", code=2)["error"]["what"]

    def test_a_reason_is_needed(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        error = document(capsys, "erase", "--subject", "u:ann", "--reason", " ", code=2)["error"]
        assert "--reason must be" in error["what"]


def objects(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((folder / "archive").rglob("*")) if path.is_file()}


def readable(path: Path) -> bytes:
    """The bytes of an object, and what its columns hold."""
    data = path.read_bytes()
    if path.suffix != ".parquet":
        return data
    return data + repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
