"""`archiver retention test`: whether policies say of described messages what they must."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli.options import examples, output_options
from archiver.errors import EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.retention.policy_tests import Case, Judged, JudgedFile

# Where the policies of an installation have their tests, seen from the folder that it is kept in.
TESTS_FOLDER = Path("policies/tests")


@click.command(
    "test",
    epilog=examples(
        "archiver retention test",
        "archiver retention test policies/tests/default.yaml --json",
        "archiver retention test policies/tests --junit retention.xml",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--junit",
    "junit_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the outcome as JUnit XML, too.",
)
@output_options
def command(output: Output, *, files: tuple[Path, ...], junit_path: Path | None) -> int | None:
    """Test policies: say of each described message what the policy says, and whether that is what is expected.

    FILES are files of tests, or folders of them; without any, those in policies/tests. No archive is needed and none is touched.
    A message whose verdict nobody expects fails, and so does a rule that no message reaches. Exit code 2 says that a policy
    does not do what its tests say, or that a file cannot be read.
    """
    from archiver.retention.policy_tests import files_named, run_tests  # noqa: PLC0415 - heavy, and --help needs none of it

    judged = run_tests(files_named(files or (TESTS_FOLDER,)))
    if junit_path is not None:
        _write_junit(junit_path, judged)
    output.result(_document(judged), show=lambda out: _show(out, judged))
    return EXIT_USAGE if judged.failed else None


def _write_junit(path: Path, judged: Judged) -> None:
    from archiver.retention.junit import junit_xml  # noqa: PLC0415 - as above

    try:
        path.write_bytes(junit_xml(judged))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", next_step="name another file with --junit"
        ) from None


def _document(judged: Judged) -> dict[str, Any]:
    return {
        "cases": judged.cases,
        "failed": judged.failed,
        "files": [
            {
                "path": file.path,
                "policy_path": file.policy_path,
                "policy": file.policy,
                "cases": [asdict(case) for case in file.cases],
            }
            for file in judged.files
        ],
        "unreached": [asdict(rule) for rule in judged.unreached],
        "exit_code": EXIT_USAGE if judged.failed else 0,
    }


def _show(output: Output, judged: Judged) -> None:
    for file in judged.files:
        failed = [case for case in file.cases if case.failures]
        count = f"{len(file.cases)} items" if not failed else f"{len(failed)} of {len(file.cases)} items fail"
        output.line(f"{'failed' if failed else 'passed'}  {file.path}: {count}")
        for case in failed:
            _show_case(output, file, case)
    for rule in judged.unreached:
        output.line(f"failed  {rule.policy_path}:{rule.line}: {rule.sentence}")
    output.line()
    if judged.failed:
        output.line(f"{judged.failed} failed, of {judged.cases} items and all rules of their policies.")
    else:
        output.line(f"All {judged.cases} items are as expected, and every rule is reached.")


def _show_case(output: Output, file: JudgedFile, case: Case) -> None:
    output.line(f"        {file.path}:{case.line}: {case.name}")
    for failure in case.failures:
        output.line(f"          {failure}")
    output.line(f"          ({case.said.sentence}; rule: {case.said.rule})")
