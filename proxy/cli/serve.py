"""`sessiongate serve`."""

from __future__ import annotations

import os
import sqlite3
from functools import partial

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, FileArgument, end_with, fail
from proxy.edge.rule_files.reading import load_with_rules
from proxy.errors import ConfigErrors, StateUnavailable
from proxy.ledger.database_words import in_words


def serve(file: FileArgument = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the gate until it is told to stop (SIGTERM, Ctrl-C).

    \b
    Examples:
      sessiongate serve
      sessiongate serve /etc/sessiongate/sessiongate.yaml
      SESSIONGATE_MODE=shadow sessiongate serve
    """
    try:
        settings = load_with_rules(file or config, os.environ)
    except ConfigErrors as errors:
        end_with(errors)
    # imported late: the other commands start without the server
    from proxy.app import serve as serve_gate  # noqa: PLC0415  # the other commands start without the server
    from proxy.edge.audit.holding import TrailHeldError  # noqa: PLC0415  # as above

    try:
        serve_gate(settings, partial(load_with_rules, file or config, os.environ))
    except ConfigErrors as errors:  # a rule file changed in the meantime
        end_with(errors)
    except OSError as error:
        fail(f"cannot serve: {error.strerror or error}")
    except TrailHeldError as error:
        fail(f"cannot serve: {error}; {error.cure}")
    except sqlite3.Error as error:
        fail(f"the ledger {settings.ledger} cannot be used: {error}{_cure(error)}")
    except StateUnavailable as error:
        fail(f"the ledger {settings.ledger} cannot be used: {error.what}")


def _cure(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ""
    return f"; {in_words(error)}: restore it from a copy, or move it away and the gate begins anew"
