"""What came of policy tests as JUnit XML, for whatever runs them each time a policy changes.

It keeps to what every reader of the format knows: suites, cases and failures with a message. What XML cannot hold is shown as an escape.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from archiver.retention.policy_tests import Judged, JudgedFile, Unreached

# XML 1.0, production 2: no control characters but these, no surrogates, no non-characters.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RULES = "rules of {}"


def junit_xml(judged: Judged) -> bytes:
    """Return the document: a suite for each file of tests, and one for the rules of each policy."""
    root = ET.Element("testsuites", _attributes(name="archiver retention test"))
    for file in judged.files:
        _add_file(root, file)
    for path in dict.fromkeys(file.policy_path for file in judged.files):
        _add_rules(root, path, [rule for rule in judged.unreached if rule.policy_path == path])
    root.set("tests", str(sum(int(suite.attrib["tests"]) for suite in root)))
    root.set("failures", str(sum(int(suite.attrib["failures"]) for suite in root)))
    root.set("errors", "0")
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_file(root: ET.Element, file: JudgedFile) -> None:
    failed = sum(bool(case.failures) for case in file.cases)
    suite = _suite(root, file.path, tests=len(file.cases), failures=failed)
    for case in file.cases:
        element = ET.SubElement(suite, "testcase", _attributes(name=case.name, classname=file.policy, time="0"))
        if case.failures:
            said = f"{file.path}:{case.line}: {case.name}\n" + "\n".join(case.failures) + f"\n{case.said.sentence}"
            _fail(element, "; ".join(case.failures), kind="unmet", text=said)


def _add_rules(root: ET.Element, path: str, unreached: Sequence[Unreached]) -> None:
    suite = _suite(root, _RULES.format(path), tests=1, failures=bool(unreached))
    case = ET.SubElement(suite, "testcase", _attributes(name="every rule is reached", classname=path, time="0"))
    if unreached:
        text = "\n".join(f"{path}:{rule.line}: {rule.sentence}" for rule in unreached)
        _fail(case, "; ".join(rule.sentence for rule in unreached), kind="unreached", text=text)


def _suite(root: ET.Element, name: str, *, tests: int, failures: int) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(int(failures)), "errors": "0", "skipped": "0", "time": "0"}
    return ET.SubElement(root, "testsuite", _attributes(name=name) | counts)


def _fail(case: ET.Element, message: str, *, kind: str, text: str) -> None:
    failure = ET.SubElement(case, "failure", _attributes(message=message, type=kind))
    failure.text = _legal(text)


def _attributes(**values: str) -> dict[str, str]:
    return {name: _legal(value) for name, value in values.items()}


def _legal(text: str) -> str:
    return _NO_CHARACTER.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
