"""The commands put together. What one of them needs is imported when it is typed."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from proxy import __version__
from proxy.cli.late import Late, grouped

_APPLICATION: Final = {
    "serve": Late("Run the gate until it is told to stop.", "proxy.cli.serve:serve"),
    "check": Late("Report every fault of a settings file at once.", "proxy.cli.check:check"),
    "reload": Late("Have the running gate read its settings again.", "proxy.cli.reload:reload_settings"),
    "decode": Late("Say what an operation, a signature or call data means.", "proxy.cli.decode:decode"),
    "explain": Late("Say what the verdict would be, or what an error means.", "proxy.cli.explain:explain"),
    "lint": Late("Say what a careful reviewer would say of a session.", "proxy.cli.lint:lint"),
    "sessions": Late("The sessions this gate knows.", "proxy.cli.application:sessions"),
    "freeze": Late("Refuse every operation of a session from now on.", "proxy.cli.freezes:freeze"),
    "unfreeze": Late("Lift a freeze.", "proxy.cli.freezes:unfreeze"),
    "rules": Late("What ops say: check, test, try and reload it.", "proxy.cli.application:rules"),
    "ledger": Late("What this gate must not forget.", "proxy.cli.application:ledger"),
    "alerts": Late("Who is told of what happens.", "proxy.cli.application:alerts"),
    "audit": Late("List or follow what this gate decided; verify, replay.", "proxy.cli.audit.group:audits"),
}
_SESSIONS: Final = {
    "list": Late("List the sessions, and where each stands.", "proxy.cli.sessions:list_sessions"),
    "show": Late("Show a session: what it may do, what is left.", "proxy.cli.sessions:show_session"),
}
_RULES: Final = {
    "check": Late("Report every fault of all rule files at once.", "proxy.cli.rules.check:check_rules"),
    "test": Late("Run the cases beside the rules.", "proxy.cli.rules.test:run_rule_cases"),
    "backtest": Late("Judge the past again, by other rules.", "proxy.cli.rules.backtest:backtest_rules"),
    "explain": Late("Say in words what a rule asks and counts.", "proxy.cli.rules.explain:explain_rule"),
    "coverage": Late("Say which rules ever fired, and which never did.", "proxy.cli.rules.coverage:coverage"),
    "list": Late("List the rules that the running gate has in force.", "proxy.cli.rules.list:list_rules"),
    "reload": Late("Have the running gate read its rule files again.", "proxy.cli.rules.reload:reload_rules"),
    "diff": Late("Say what a reload would change.", "proxy.cli.rules.desk:diff_rules"),
    "budget": Late("Show what is left of each window, per key.", "proxy.cli.rules.desk:show_budget"),
    "reset": Late("Have a rule forget what it has counted.", "proxy.cli.rules.desk:reset_rule"),
    "allow": Late("Have a rule take a thing for known.", "proxy.cli.rules.desk:allow_thing"),
    "disallow": Late("Take back what `rules allow` allowed.", "proxy.cli.rules.desk:disallow_thing"),
    "allowances": Late("List what is allowed by hand.", "proxy.cli.rules.desk:list_allowances"),
}
_LEDGER: Final = {
    "verify": Late("Say whether every record can be read.", "proxy.cli.ledger:verify"),
    "show": Late("Show what is in flight and holds what.", "proxy.cli.ledger:show"),
    "list": Late("List what is held: by which, why, until when.", "proxy.cli.ledger:list_held"),
    "release": Late("Let go of what an operation holds.", "proxy.cli.ledger:release"),
    "accept": Late("Take restored counts as they are.", "proxy.cli.ledger:accept"),
    "prune": Late("Forget what is not needed any more.", "proxy.cli.ledger:prune"),
}
_ALERTS: Final = {"test": Late("Send a test alert to each sink.", "proxy.cli.alerts:send_test")}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sessiongate {__version__}")
        raise typer.Exit


def _sessiongate(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A security gate for smart-account session keys, in front of an ERC-4337 bundler.

    Exit codes: 0 all well; 1 refused, faulty or not found; 2 not doable as asked.
    """


application = grouped(
    _APPLICATION,
    callback=_sessiongate,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a rich traceback would print local variables, keys among them
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
sessions = grouped(_SESSIONS, no_args_is_help=True, help="The sessions this gate knows.")
rules = grouped(_RULES, no_args_is_help=True, help="What ops say: check, test, try and reload it.")
alerts = grouped(_ALERTS, no_args_is_help=True, help="Who is told of what happens.")
ledger = grouped(_LEDGER, no_args_is_help=True, help="What this gate must not forget.")
