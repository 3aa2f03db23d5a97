"""`sessiongate audit replay`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.audit.before import Before
from proxy.cli.audit.session_again import NotRecomputableError, judge_session_again
from proxy.cli.audit.trail import audit_trail
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load, read_since
from proxy.cli.render import print_tree
from proxy.cli.rules.past import recorded_in
from proxy.cli.rules.sets import load_rules
from proxy.config import Config
from proxy.config.settings import UnminedRules
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit
from proxy.edge.audit.row import AuditRow
from proxy.judge.evaluate import RulesFinding
from proxy.judge.facts import ALLOWED
from proxy.judge.rule import Ruleset
from proxy.rehearsal.recollection import Recollection
from proxy.session.outcome import Accepted, NeedsFacts, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision judged again: what rules find now, after what was before it."""

    row: AuditRow
    finding: RulesFinding
    before: Before


def replay(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID", show_default=False, help="As a caller got it.")],
    *,
    files: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="FILE", help="Rules to judge by; by default those of the settings."),
    ] = None,
    since: Annotated[
        float | None,
        typer.Option("--since", parser=read_since, metavar="TIME", help="Count from here; by default from the first."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Judge one decision again, and say where it would be another today.

    The rules are judged again: from the facts that the decision was made on, with what rules count made anew from the
    decisions before it in the trail. So is what the session allows, on the state and the amounts in flight that were
    recorded, where the trail keeps them (audit.keep: calldata). What is only repeated is marked as recorded. Exit code
    1 when the rules would say something else.

    \b
    Examples:
      sessiongate audit replay 0192f0c1a2b3c4d5e6f70819
      sessiongate audit replay 0192f0c1a2b3c4d5e6f70819 --rules rules/new.yaml --json
    """
    settings = load(config, secrets=False)
    rules = load_rules(files or (), config)
    found = _replayed(audit_trail(settings), decision_id, rules.ruleset, settings, since)
    chain = settings.chains.get(found.row.chain)
    if chain is None:
        fail(f"its chain {found.row.chain} is not in the settings any more", ExitCode.REFUSED)
    told = _as_json(found, rules.ruleset.digest, chain.chain_id)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        print_tree(f"decision {decision_id}", {**told, "rules": _said(told["rules"])})
    same = told["rules"]
    raise typer.Exit(ExitCode.OK if isinstance(same, Mapping) and same["same"] else ExitCode.REFUSED)


def _replayed(trail: Trail, decision_id: str, ruleset: Ruleset, settings: Config, since: float | None) -> Replayed:
    try:
        wanted = next(iter(read_audit(trail, AuditFilter(decision_id=decision_id))), None)
        if wanted is None:
            fail("no decision of that id is in the trail", ExitCode.REFUSED)
        recorded = recorded_in(wanted)
        if recorded is None:
            fail("its facts were not kept, or not whole: it cannot be judged again", ExitCode.REFUSED)
        recollection = Recollection(ruleset, ceiling=settings.mode)
        before = Before([name for name, chain in settings.chains.items() if chain.unmined_rules is UnminedRules.HOLD])
        before.recall(trail, wanted, since, recollection)
    except (sqlite3.Error, FileNotFoundError) as error:
        fail(f"the audit trail at {trail.path} cannot be read: {error}")
    return Replayed(row=wanted, finding=recollection.judge(recorded.facts), before=before)


def _said(rules: object) -> object:
    """What fires for people, who are not to look for what is not there."""
    return (
        {**rules, **{when: rules[when] or "no rule fires" for when in ("now", "then")}}
        if isinstance(rules, Mapping)
        else rules
    )


def _session_again(row: AuditRow, chain_id: int) -> dict[str, object]:
    """The session's verdict made anew on the recorded grounds, or why it is only repeated."""
    try:
        again = judge_session_again(row, chain_id)
    except NotRecomputableError as error:
        return {"how": "recorded", "why": str(error)}
    told: dict[str, object] = {"how": "recomputed", "recorded": ["the signature", "the state", "what was in flight"]}
    match again:
        case Accepted():
            return {**told, "now": ALLOWED}
        case Refused(reason=reason):
            return {**told, "now": reason.code.label, "sentence": reason.sentence}
        case NeedsFacts():
            return {"how": "recorded", "why": "it hung on what the node was asked for this operation alone"}


def _as_json(found: Replayed, digest: str, chain_id: int) -> dict[str, object]:
    row = found.row
    now = [{"rule": hit.rule.id, "mode": hit.mode.value, "sentence": hit.sentence} for hit in found.finding.hits]
    then = [{"rule": hit.rule, "mode": hit.mode, "sentence": hit.sentence} for hit in row.rules]
    facts = json.loads(row.facts or "{}")
    return {
        "decisionId": row.decision_id,
        "verdict": {"how": "recorded", "was": row.verdict, "reasons": [reason.sentence for reason in row.reasons]},
        "rules": {
            "how": "recomputed",
            "same": {(hit["rule"], hit["mode"]) for hit in now} == {(hit["rule"], hit["mode"]) for hit in then},
            "digest": digest,
            "decisionsBefore": found.before.decisions,
            "notReadable": found.before.unread,
            "now": now,
            "then": then,
            "passForWantOfAFact": list(found.finding.opened),
        },
        "session": {
            "was": facts.get("verdict", ALLOWED),
            "limitUsedPercent": facts.get("limit_used_percent"),
            **_session_again(row, chain_id),
        },
        "counts": {
            "how": "recomputed",
            "from": "what went out before it, whatever the rules say of it now, and what had ended by then",
            "resets": found.before.resets,
            "notRedone": found.before.not_redone,
        },
    }
