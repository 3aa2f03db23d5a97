"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy import __version__
from proxy.cli.alerts import send_test
from proxy.cli.audit.list import audit
from proxy.cli.audit.replay import replay
from proxy.cli.audit.verify import verify as verify_audit
from proxy.cli.check import check
from proxy.cli.decode import decode
from proxy.cli.explain import explain
from proxy.cli.freezes import freeze, unfreeze
from proxy.cli.ledger import accept, list_held, prune, release, show, verify
from proxy.cli.lint import lint
from proxy.cli.reload import reload_settings
from proxy.cli.rules.backtest import backtest_rules
from proxy.cli.rules.check import check_rules
from proxy.cli.rules.coverage import coverage
from proxy.cli.rules.desk import (
    allow_thing,
    diff_rules,
    disallow_thing,
    list_allowances,
    reset_rule,
    show_budget,
)
from proxy.cli.rules.explain import explain_rule
from proxy.cli.rules.list import list_rules
from proxy.cli.rules.reload import reload_rules
from proxy.cli.rules.test import run_rule_cases
from proxy.cli.serve import serve
from proxy.cli.sessions import list_sessions, show_session

application = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help texts are plain, so that their examples keep their lines
    pretty_exceptions_enable=False,  # a rich traceback would print local variables, keys among them
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
sessions = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The sessions this gate knows.")

rules = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What ops say: check, test, try and reload it.")
alerts = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who is told of what happens.")
ledger = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What this gate must not forget.")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sessiongate {__version__}")
        raise typer.Exit


@application.callback()
def _sessiongate(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A security gate for smart-account session keys, in front of an ERC-4337 bundler.

    Exit codes: 0 all well; 1 refused, faulty or not found; 2 not doable as asked.
    """


application.command()(serve)
application.command()(check)
application.command("reload")(reload_settings)
application.command()(decode)
application.command()(explain)
application.command()(lint)
application.add_typer(sessions, name="sessions")
sessions.command("list")(list_sessions)
sessions.command("show")(show_session)
application.add_typer(rules, name="rules")
rules.command("check")(check_rules)
rules.command("test")(run_rule_cases)
rules.command("backtest")(backtest_rules)
rules.command("explain")(explain_rule)
rules.command("coverage")(coverage)
rules.command("list")(list_rules)
rules.command("reload")(reload_rules)
rules.command("diff")(diff_rules)
rules.command("budget")(show_budget)
rules.command("reset")(reset_rule)
rules.command("allow")(allow_thing)
rules.command("disallow")(disallow_thing)
rules.command("allowances")(list_allowances)
application.add_typer(ledger, name="ledger")
ledger.command()(verify)
ledger.command()(show)
ledger.command()(prune)
ledger.command("list")(list_held)
ledger.command()(release)
ledger.command()(accept)
application.add_typer(alerts, name="alerts")
alerts.command("test")(send_test)
application.command()(freeze)
application.command()(unfreeze)
audits = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
audits.callback()(audit)
audits.command("verify")(verify_audit)
audits.command("replay")(replay)
application.add_typer(audits, name="audit")
