"""The document that a build server reads, to the byte."""

from __future__ import annotations

from archiver.retention.decide import PRINCIPLES
from archiver.retention.junit import junit_xml
from archiver.retention.policy_tests import Case, Judged, JudgedFile, Said, Unreached

SAID = Said("deleted", "1y", "-", "old", "only-deletion", ())


def test_each_file_is_a_suite_and_so_are_the_rules_of_each_policy() -> None:
    judged = Judged(
        (
            JudgedFile(
                "a.yaml",
                "p.yaml",
                "acme",
                (
                    Case("goes", 3, SAID, ()),
                    Case("stays <b>", 7, SAID, ("verdict is deleted, not kept", "rule is old, not new")),
                ),
                frozenset(),
            ),
            JudgedFile("b.yaml", "p.yaml", "acme", (), frozenset()),
            JudgedFile(
                "c.yaml", "q\x00.yaml", "other", (Case("odd \x07 \ud800", 1, SAID, ("it is\ufffe",)),), frozenset()
            ),
        ),
        (Unreached("p.yaml", 4, "some"), Unreached("p.yaml", 9, "more"), Unreached("elsewhere.yaml", 1, "none")),
    )
    sentence = PRINCIPLES["only-deletion"]
    some, more = (f"no item of these tests is matched by the rule '{rule}'" for rule in ("some", "more"))
    assert (
        junit_xml(judged).decode()
        == f"""<?xml version='1.0' encoding='utf-8'?>
<testsuites name="archiver retention test" tests="5" failures="3" errors="0">
  <testsuite name="a.yaml" tests="2" failures="1" errors="0" skipped="0" time="0">
    <testcase name="goes" classname="acme" time="0" />
    <testcase name="stays &lt;b&gt;" classname="acme" time="0">
      <failure message="verdict is deleted, not kept; rule is old, not new" type="unmet">a.yaml:7: stays &lt;b&gt;
verdict is deleted, not kept
rule is old, not new
{sentence}</failure>
    </testcase>
  </testsuite>
  <testsuite name="b.yaml" tests="0" failures="0" errors="0" skipped="0" time="0" />
  <testsuite name="c.yaml" tests="1" failures="1" errors="0" skipped="0" time="0">
    <testcase name="odd \\x07 \\ud800" classname="other" time="0">
      <failure message="it is\\ufffe" type="unmet">c.yaml:1: odd \\x07 \\ud800
it is\\ufffe
{sentence}</failure>
    </testcase>
  </testsuite>
  <testsuite name="rules of p.yaml" tests="1" failures="1" errors="0" skipped="0" time="0">
    <testcase name="every rule is reached" classname="p.yaml" time="0">
      <failure message="{some}; {more}" type="unreached">p.yaml:4: {some}
p.yaml:9: {more}</failure>
    </testcase>
  </testsuite>
  <testsuite name="rules of q\\x00.yaml" tests="1" failures="0" errors="0" skipped="0" time="0">
    <testcase name="every rule is reached" classname="q\\x00.yaml" time="0" />
  </testsuite>
</testsuites>
"""
    )
