"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy import __version__
from proxy.cli.audit import audit
from proxy.cli.check import check
from proxy.cli.decode import decode
from proxy.cli.explain import explain
from proxy.cli.freezes import freeze, unfreeze
from proxy.cli.ledger import prune, show, verify
from proxy.cli.lint import lint
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
application.command()(decode)
application.command()(explain)
application.command()(lint)
application.add_typer(sessions, name="sessions")
sessions.command("list")(list_sessions)
sessions.command("show")(show_session)
application.add_typer(ledger, name="ledger")
ledger.command()(verify)
ledger.command()(show)
ledger.command()(prune)
application.command()(freeze)
application.command()(unfreeze)
application.command()(audit)
