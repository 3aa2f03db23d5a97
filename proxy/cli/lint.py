"""`sessiongate lint`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from proxy.cli.decode import EntryPointOption
from proxy.cli.describe import Described
from proxy.cli.grants import Review, Reviewer
from proxy.cli.ledger_file import opened
from proxy.cli.modules import session_modules
from proxy.cli.options import (
    DEFAULT_CONFIG,
    ChainOption,
    ConfigOption,
    ExitCode,
    JsonOption,
    chain_id_of,
    fail,
    ledger_path,
    load,
    read_address,
    read_hash,
)
from proxy.cli.pasted import pasted_items
from proxy.cli.reading import read_input
from proxy.cli.render import console
from proxy.config import Config
from proxy.errors import InvalidParams, RpcError, Undecodable
from proxy.session.known import KnownSession, Status
from proxy.session.lint import DEFAULT_THRESHOLDS, KINDS, Finding, Severity, Thresholds
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed

_DAY: Final = 86_400
_STYLES: Final = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
_LONGEST_SEVERITY: Final = max(len(severity) for severity in Severity)


InputArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[INPUT]",
        show_default=False,
        help="A session in JSON, an ENABLE signature, a grant operation or request: itself, its file, or -.",
    ),
]
PermissionIdOption = Annotated[
    Hash32 | None,
    typer.Option(
        "--permission-id", parser=read_hash, metavar="ID", help="A session of the gate's ledger, in place of INPUT."
    ),
]
WhoseOption = Annotated[
    Address | None,
    typer.Option(
        "--account", parser=read_address, metavar="ADDRESS", help="Whose session it is, if the input does not tell."
    ),
]
ModuleOption = Annotated[
    Address | None,
    typer.Option("--module", parser=read_address, metavar="ADDRESS", help="The session module, if not published."),
]
MaxDaysOption = Annotated[int, typer.Option("--max-days", min=0, help="A session that ends later is called long.")]
FailOnOption = Annotated[
    Severity, typer.Option("--fail-on", help="Exit code 1 for a finding of this severity or a graver one.")
]
KindsOption = Annotated[bool, typer.Option("--kinds", help="List everything that is looked for, and stop.")]


def lint(
    pasted: InputArgument = None,
    *,
    permission_id: PermissionIdOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    chain: ChainOption = None,
    account: WhoseOption = None,
    module: ModuleOption = None,
    entry_point: EntryPointOption = None,
    max_days: MaxDaysOption = DEFAULT_THRESHOLDS.far_expiry // _DAY,
    fail_on: FailOnOption = Severity.HIGH,
    kinds: KindsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a careful reviewer would say of a session.

    Each finding has a severity, a sentence and a remedy. Exit code 1 when one is as grave as --fail-on, or the
    input grants nothing or cannot be read.

    \b
    Examples:
      sessiongate lint session.json                  as an SDK prints it
      sessiongate lint 0x01… --account 0x1111…       an ENABLE signature
      sessiongate lint request.json --json           an operation that grants sessions, in any form
      sessiongate lint 0x5a51…                       its hash, asked at the bundler of the settings
      sessiongate lint --permission-id 0xb0e6…       a session in the gate's ledger
      sessiongate lint --kinds                       everything that is looked for
    """
    if kinds:
        _print_kinds(as_json=as_json)
        return
    if (pasted is None) is (permission_id is None):
        fail("wanted either INPUT or --permission-id")
    reviewer = Reviewer(
        now=int(time.time()),
        thresholds=Thresholds(far_expiry=max_days * _DAY),
        modules=session_modules(config, chain, () if module is None else (module,)),
        account=account,
        module=module,
    )
    if permission_id is not None:
        known = _known_sessions(load(config, secrets=False), permission_id, chain, account)
        reviews = [reviewer.known(session) for session in known]
    else:
        reviews = _reviews(reviewer, pasted or "", entry_point, config, chain)
    if as_json:
        typer.echo(json.dumps({"sessions": [_describe(review) for review in reviews]}, indent=2))
    else:
        _print_reviews(reviews)
    if any(finding.severity.rank >= fail_on.rank for review in reviews for finding in review.findings):
        raise typer.Exit(ExitCode.REFUSED)


def _reviews(
    reviewer: Reviewer, pasted: str, entry_point: EntryPointOption, config: Path, chain: str | None
) -> list[Review]:
    no_session = ""
    try:
        text = read_input(pasted).strip()
        if not (reviews := reviewer.sessions(text)):
            if not text.startswith("0x"):
                no_session = "no session is in it (an object with sessionValidator), and as an operation: "
            reviews = reviewer.grants(pasted_items(text, entry_point, config, chain))
    except InvalidParams as error:
        fail(f"not readable: {no_session}{error}", ExitCode.REFUSED)
    except (RpcError, Undecodable) as error:
        fail(f"not readable: {error}", ExitCode.REFUSED)
    if not reviews:
        fail("nothing is granted here", ExitCode.REFUSED)
    return reviews


def _known_sessions(
    settings: Config, permission_id: Hash32, chain: str | None, account: Address | None
) -> list[KnownSession]:
    chain_id = chain_id_of(settings, chain)
    with opened(ledger_path(settings)) as store:
        known = [
            session
            for session in store.sessions()
            if session.key.permission_id == permission_id
            and account in (None, session.key.account)
            and chain_id in (None, session.key.chain_id)
        ]
    if not known:
        fail("no session of that permission id is known", ExitCode.REFUSED)
    standing = [session for session in known if session.status is not Status.REMOVED]
    if not standing:
        fail("every session of that permission id was removed", ExitCode.REFUSED)
    return standing


def _describe(review: Review) -> Described:
    return {
        "what": review.what,
        "permissionId": print_bytes(review.permission_id),
        "account": None if review.account is None else print_checksummed(review.account),
        "module": None if review.module is None else print_checksummed(review.module),
        "findings": [_describe_finding(finding) for finding in review.findings],
    }


def _describe_finding(finding: Finding) -> Described:
    return {
        "id": finding.id,
        "severity": finding.severity.value,
        "where": str(finding.where),
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _print_reviews(reviews: Sequence[Review]) -> None:
    out = console()
    for number, review in enumerate(reviews):
        if number:
            out.print()
        whose = "" if review.account is None else f" of account {print_checksummed(review.account)}"
        title = f"{review.what} {print_bytes(review.permission_id)}{whose}: {_tally(review.findings)}"
        out.print(Text(title, style="bold"), crop=False)
        for line in _lines(review.findings):
            out.print(line, crop=False)


def _lines(findings: Iterable[Finding]) -> Iterator[Text]:
    indent = " " * (_LONGEST_SEVERITY + 2)
    for finding in findings:
        severity = Text(finding.severity.value.ljust(_LONGEST_SEVERITY), style=_STYLES[finding.severity])
        yield severity + Text(f"  {finding.where}: {finding.sentence}", style="default")
        yield Text(f"{indent}{finding.remedy} ", style="default") + Text(f"[{finding.id}]", style="dim")


def _tally(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing found"
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(f"{counts[severity]} {severity.value}" for severity in reversed(Severity) if counts[severity])


def _print_kinds(*, as_json: bool) -> None:
    if as_json:
        rows = [{"id": kind.id, "severity": kind.severity.value, "looksFor": kind.looks_for} for kind in KINDS.values()]
        typer.echo(json.dumps(rows, indent=2))
        return
    out, width = console(), max(len(name) for name in KINDS)
    for kind in KINDS.values():
        severity = Text(kind.severity.value.ljust(_LONGEST_SEVERITY), style=_STYLES[kind.severity])
        out.print(severity + Text(f"  {kind.id.ljust(width)}  {kind.looks_for}", style="default"), crop=False)
