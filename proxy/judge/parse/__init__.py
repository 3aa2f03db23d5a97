"""From the texts of rule files to a set of rules, or to every fault in all of them at once. No file is opened here."""

from proxy.judge.parse.exceptions import ended
from proxy.judge.parse.faults import Beside, Parsed, RuleFault, SourceFile
from proxy.judge.parse.files import parse_rules

__all__ = ["Beside", "Parsed", "RuleFault", "SourceFile", "ended", "parse_rules"]
