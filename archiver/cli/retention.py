"""`archiver retention`: what is kept how long, and when it goes. The group, and what concerns policies alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli import (
    retention_apply,
    retention_certificate,
    retention_explain,
    retention_plan,
    retention_test,
    retention_tier,
)
from archiver.cli.options import Invocation, config_options, examples, output_options
from archiver.cli.output import Output
from archiver.errors import EXIT_DONE, EXIT_USAGE

if TYPE_CHECKING:
    from archiver.archive.reader import Archive
    from archiver.retention.findings import Finding
    from archiver.retention.policy import Policy


@click.group(
    epilog=examples(
        "archiver retention validate policies/default.yaml",
        "archiver retention validate --json",
        "archiver retention test",
        "archiver retention plan --html plan.html",
        "archiver retention schema > policies/schema.json",
    ),
    short_help="Keep messages as long as policies say, and no longer.",
)
def command() -> None:
    """Read retention policies, see what they would do, and do exactly that.

    A policy is a YAML file of rules: what they match, how long that is kept, when it goes. docs/retention.md explains it.
    """


@command.command(
    "validate",
    epilog=examples(
        "archiver retention validate policies/default.yaml",
        "archiver retention validate --no-archive --strict policies/default.yaml",
        "archiver retention validate --earlier approved.yaml policies/default.yaml --json",
    ),
)
@click.argument("policies", nargs=-1, metavar="[POLICY]...", type=click.Path(path_type=Path))
@click.option(
    "--earlier",
    metavar="POLICY",
    type=click.Path(path_type=Path),
    help="The policy in force until now: warn of locked periods that become shorter.",
)
@click.option(
    "--no-archive", is_flag=True, help="Look at the files alone, not at what their rules match in the archive."
)
@click.option("--strict", is_flag=True, help="Exit code 2 for warnings too.")
@config_options
def validate(
    invocation: Invocation, *, policies: tuple[Path, ...], earlier: Path | None, no_archive: bool, strict: bool
) -> int | None:
    """Find what is wrong or odd in policies, by default in the one that `retention.policy` names in the configuration.

    Each finding has its file, line, rule and a stable code (docs/retention.md lists them). Errors are what keeps a policy from being
    used, and are exit code 2. Warnings are rules that can never win, that overlap, that match nothing in the archive, or that
    shorten what was locked. Nothing is changed.
    """
    from archiver import wiring, wiring_retention  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    # Files alone can be looked at anywhere, as in the checks of a repository that holds nothing but policies.
    settings = invocation.settings() if not policies or invocation.config_path.exists() else None
    files = policies or ((settings.retention.policy,) if settings is not None else ())
    archive = None
    if settings is not None and not no_archive:
        archive = wiring_retention.archive_if_any(wiring.open_store(settings))
    before = wiring_retention.earlier_policy(earlier)
    checked = [_check(file, archive=archive, earlier=before) for file in files]
    errors = sum(finding.severity == "error" for one in checked for finding in one.findings)
    warnings = sum(finding.severity == "warning" for one in checked for finding in one.findings)
    exit_code = EXIT_USAGE if errors or (strict and warnings) else EXIT_DONE
    document = {
        "policies": [asdict(one) for one in checked],
        "archive": None if archive is None else archive.store.url,
        "errors": errors,
        "warnings": warnings,
        "exit_code": exit_code,
    }
    invocation.output.result(document, show=lambda out: _show(out, checked, document))
    return exit_code


@command.command(
    "schema",
    epilog=examples(
        "archiver retention schema > policies/schema.json",
        "archiver retention schema --tests > policies/tests.schema.json",
    ),
)
@click.option("--tests", "is_of_tests", is_flag=True, help="That of the files of policy tests.")
@output_options
def schema(output: Output, *, is_of_tests: bool) -> int | None:
    """Print the JSON Schema of a policy, for editors that complete and check YAML.

    With `# yaml-language-server: $schema=schema.json` in its first line a policy is checked as it is written.
    """
    from archiver.retention.policy import schema_text  # noqa: PLC0415 - as above
    from archiver.retention.policy_test_keys import schema_of_tests_text  # noqa: PLC0415 - as above

    output.write((schema_of_tests_text() if is_of_tests else schema_text()).encode())
    return None


@dataclass(frozen=True, slots=True)
class _Checked:
    """One policy's file: what was found in it, and if it can be used its name and digest."""

    path: str
    name: str | None
    digest: str | None
    rules: int
    findings: list[Finding]


def _check(path: Path, *, archive: Archive | None, earlier: Policy | None) -> _Checked:
    from archiver import wiring_retention  # noqa: PLC0415 - as above
    from archiver.retention import validate as validation  # noqa: PLC0415 - as above
    from archiver.retention.policy_file import PolicyMistakesError, read_written  # noqa: PLC0415 - as above

    try:
        written = read_written(path)
    except PolicyMistakesError as error:
        return _Checked(str(path), None, None, 0, list(error.findings))
    found = validation.warnings_of(written, earlier=earlier)
    if archive is not None:
        found += wiring_retention.archive_warnings(written, archive)
    policy = written.policy
    return _Checked(str(path), policy.name, policy.digest, len(policy.rules), validation.in_order(found))


def _show(output: Output, checked: list[_Checked], document: dict[str, Any]) -> None:
    from archiver.retention.certificate import counted  # noqa: PLC0415 - as above

    for one in checked:
        for finding in one.findings:
            output.line(f"{finding.severity}: {finding}")
        if one.digest is not None:
            output.line(f"{one.path}: {one.name}, {one.rules} rules, digest {one.digest}")
    where = "the archive was not looked at" if document["archive"] is None else f"matched against {document['archive']}"
    counts = counted({"error": document["errors"], "warning": document["warnings"]})
    output.line(f"{counts}; {where}")
    if document["errors"]:
        output.line("  Next: correct the policy; docs/retention.md explains every code; nothing was touched")


for _further in (
    retention_test.command,
    retention_plan.plan,
    retention_apply.apply,
    retention_certificate.certificate,
    retention_explain.explain,
    retention_explain.erase,
    retention_tier.tier,
):
    command.add_command(_further)
