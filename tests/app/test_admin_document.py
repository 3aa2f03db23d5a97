"""What the admin listener of a real gate answers, held against its OpenAPI document by schemathesis, in every role."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from proxy.edge.admin.openapi import OPENAPI_PATH, ROUTES
from tests.bypass_list.desk import CHAIN_ID
from tests.e2e.children import Child
from tests.patience import patiently
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
TOKENS: Final = {"nobody": None, "read": "tok-of-one-who-reads", "write": "tok-of-one-who-writes"}
_EXAMPLES: Final = 6
_NOT_ASKED: Final = [
    ignored_auth,  # it takes the token of a role for one that it made up; roles are looked at here
    positive_data_acceptance,  # a chain, a rule, a moment are texts to the document, and not any text is one
    not_a_server_error,  # 503 is an answer that the document has: a check fails, a fact is missing
]


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The admin listener of a gate with both tokens, metrics and health being open."""
    folder = tmp_path_factory.mktemp("gate")
    rpc, port = free_ports(2)
    config = folder / "sessiongate.yaml"
    (folder / "rules.yaml").write_text("rules:\n  - {id: a, description: It is., match: {session: true}}\n")
    config.write_text(
        f"listen: 127.0.0.1:{rpc}\nadmin_listen: 127.0.0.1:{port}\nledger: sqlite:gate.db\nrules: [rules.yaml]\n"
        f"admin_token: {TOKENS['write']}\nadmin_read_token: {TOKENS['read']}\nadmin_open: [metrics, health]\n"
        f"chains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [http://127.0.0.1:{rpc}/nobody]\n"
    )
    serve = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]
    child = Child.start("gate", serve, folder / "gate.log", cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        _until_well(url, child)
        yield url
    finally:
        child.stop()


def _until_well(url: str, child: Child) -> None:
    for _ in patiently():
        assert child.process.poll() is None, child.tail()
        try:
            with urlopen(f"{url}/healthz") as response:  # the gate of this test
                assert response.status == 200
                return
        except URLError:
            time.sleep(0.01)  # it is not there yet
    raise AssertionError(child.tail())


@pytest.fixture(scope="module")
def document(admin: str) -> Any:
    headers = {"authorization": f"Bearer {TOKENS['read']}"}
    schema = schemathesis.openapi.from_url(f"{admin}{OPENAPI_PATH}", headers=headers)
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return schema


@pytest.mark.parametrize("role", TOKENS)
@pytest.mark.parametrize(("path", "method"), [(path, method) for path, of in ROUTES.items() for method in of])
def test_every_role_is_answered_as_the_document_says(
    admin: str, document: Any, path: str, method: str, role: str
) -> None:
    operation, token = document[path][method.upper()], TOKENS[role]
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    named = [name for each in ROUTES[path][method]["security"] for name in each]
    permitted = not named or f"{role}Token" in named

    @given(case=operation.as_strategy())
    @settings(
        max_examples=_EXAMPLES if permitted else 2,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: Any) -> None:
        case.headers = dict(headers)
        response = case.call(base_url=admin)
        case.validate_response(response, excluded_checks=_NOT_ASKED)
        assert response.status_code != 500, response.text
        if not permitted:
            assert response.status_code in ((401,) if token is None else (403,)), response.text

    answered()
