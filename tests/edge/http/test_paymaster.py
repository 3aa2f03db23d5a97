"""How a paymaster's health is told: by whatever it answers, since no method of it tells a chain for certain."""

from __future__ import annotations

import pytest

from proxy.edge.http.endpoints import Health
from proxy.edge.http.paymaster import BundlersAndPaymaster, PaymasterService
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import PaymasterUnavailable
from proxy.ports import Submission
from tests.edge.recording_bundler import Answer, RecordingBundler

DATA = "pm_getPaymasterData"


def service(paymaster: RecordingBundler, told: list[tuple[str, Health]]) -> PaymasterService:
    return PaymasterService(
        "soneium/paymaster",
        [paymaster.url],
        chain_id=1946,
        entry_points=frozenset(),
        on_health=lambda name, health: told.append((name, health)),
    )


@pytest.mark.parametrize(
    ("said", "health"),
    [
        (Answer(result="0x79a"), Health.HEALTHY),
        (Answer(error={"code": -32601, "message": "Method not found"}), Health.HEALTHY),
        (Answer(result=None), Health.HEALTHY),
        (Answer(result="mainnet"), Health.HEALTHY),
        (Answer(result="0x1"), Health.MISCONFIGURED),
        (Answer(raw=b"<html>", content_type="text/html"), Health.UNREACHABLE),
    ],
)
async def test_any_answer_shows_that_it_is_there_and_another_chains_id_that_it_is_the_wrong_one(
    said: Answer, health: Health
) -> None:
    told: list[tuple[str, Health]] = []
    async with RecordingBundler(answers={"eth_chainId": said}) as paymaster, service(paymaster, told) as asked:
        assert await asked.probe() is (health is Health.HEALTHY)
    assert told == [("soneium/paymaster#0", health)]


async def test_one_of_another_chain_is_never_asked() -> None:
    async with RecordingBundler(chain_id=1) as paymaster, service(paymaster, []) as asked:
        await asked.probe()
        with pytest.raises(PaymasterUnavailable, match="serves chain 1, configured is 1946"):
            await asked.ask(DATA, b"[]")
        assert paymaster.methods == ["eth_chainId"]


async def test_the_name_of_a_method_says_who_is_asked() -> None:
    answers = {method: Answer(result="0x") for method in (DATA, "zd_sponsorUserOperation")}
    async with (
        RecordingBundler(answers=answers) as paymaster,
        RecordingBundler() as bundler,
        service(paymaster, []) as asked,
        HttpUpstream("soneium", [bundler.url], chain_id=1946, entry_points=frozenset()) as bundlers,
    ):
        both = BundlersAndPaymaster(bundlers, asked)
        for method in (DATA, "eth_chainId", "zd_sponsorUserOperation", "eth_sendUserOperation"):
            await both.post(method, b"[]", Submission() if method == "eth_sendUserOperation" else None)
        assert paymaster.methods == [DATA, "zd_sponsorUserOperation"]
        assert bundler.methods == ["eth_chainId", "eth_sendUserOperation"]
