"""`alerts:` in the settings: each fault at its line, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import load_config
from proxy.config.alerting import PagerDuty
from proxy.edge.rule_files.reading import load_with_rules
from proxy.errors import ConfigErrors

CHAINS = "chains: {soneium: {chain_id: 1868, bundlers: [https://bundler.example]}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "sessiongate.yaml"
    path.write_text(CHAINS + text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(folder, text), {})
    return [f"{fault.line}: {fault.problem}; {fault.suggestion}" for fault in caught.value.faults]


def test_one_alertmanager_or_several_are_sinks_with_names_of_their_own(tmp_path: Path) -> None:
    one = load_config(write(tmp_path, "alerts: {alertmanager: http://127.0.0.1:9093}\n"), {})
    assert one.alerts.sinks == ("alertmanager",)
    two = load_config(write(tmp_path, "alerts: {alertmanager: [http://127.0.0.1:1, http://127.0.0.1:2]}\n"), {})
    assert two.alerts.sinks == ("alertmanager", "alertmanager_2")


def test_two_sinks_of_one_name_are_a_fault(tmp_path: Path) -> None:
    text = """alerts:
  alertmanager: http://127.0.0.1:9093
  webhooks:
    - {name: soc, url: https://a.example, secret: hush-hush-hush-hush}
    - {name: soc, url: https://b.example, secret: hush-hush-hush-hush}
  pagerduty:
    - {name: alertmanager, routing_key: hush-hush}
"""
    assert faults(tmp_path, text) == [
        '6: alerts.webhooks[0] is called "soc" already; give each sink its own name',
        '8: alerts.alertmanager is called "alertmanager" already; give each sink its own name',
    ]


def test_a_severity_or_a_url_that_is_none_is_a_fault_with_its_cure(tmp_path: Path) -> None:
    text = """alerts:
  webhooks:
    - {name: soc, url: hooks.example, secret: hush-hush-hush-hush, min_severity: grave}
"""
    told = faults(tmp_path, text)
    assert len(told) == 2
    assert all(each.startswith("4: alerts.webhooks[0].") for each in told)


def test_pagerduty_is_known_by_its_own_address() -> None:
    sink = PagerDuty.model_validate({"name": "oncall", "routing_key": "hush-hush"})
    assert str(sink.url) == "https://events.pagerduty.com/v2/enqueue"
    assert "hush" not in repr(sink)


def test_a_url_from_the_environment_reaches_a_list(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""), {"SESSIONGATE_ALERTS__ALERTMANAGER__0": "http://127.0.0.1:9093"})
    assert config.alerts.sinks == ("alertmanager",)


def test_a_rule_that_notifies_nobody_there_is_is_a_fault_at_the_rule(tmp_path: Path) -> None:
    rules = "rules:\n  - {id: a, description: d, notify: [sco, soc], match: {session: true}}\n"
    (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
    hook = "alerts: {webhooks: [{name: soc, url: https://a.example, secret: hush-hush-hush-hush}]}\n"
    path = write(tmp_path, f"rules: [rules.yaml]\n{hook}")
    with pytest.raises(ConfigErrors) as caught:
        load_with_rules(path, {})
    (fault,) = caught.value.faults
    assert (fault.line, fault.problem, fault.suggestion) == (2, 'there is no sink "sco"', 'did you mean "soc"?')
    # a gate that tells nobody loads the same rules
    assert load_with_rules(write(tmp_path, "rules: [rules.yaml]\n"), {}).rules
