"""A chain's paymaster: asked for what paymasters answer, instead of the bundler; never twice, and probed in its way."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.edge.http.asker import NO_PARAMS
from proxy.edge.http.endpoints import BundlerEndpoint, Health, misfit_of_chain
from proxy.edge.http.exchange import Hearing, UpstreamReply
from proxy.edge.http.once import OnceSent
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import PaymasterUnavailable, UpstreamFull, UpstreamUnavailable
from proxy.methods import is_for_paymaster
from proxy.ports import Forwarded, Submission


class PaymasterService(HttpUpstream):
    """One paymaster. It keeps accounts of what it was asked to pay for, so that nothing is asked of it again."""

    async def ask(self, method: str, params: bytes) -> UpstreamReply:
        """Its answer. Raises `PaymasterUnavailable`."""
        try:
            return await self.post(method, params, submission=None)
        except UpstreamUnavailable as error:
            raise PaymasterUnavailable(error.problem, may_have_been_sent=error.may_have_been_sent) from None

    async def _probe(self, endpoint: BundlerEndpoint) -> None:
        """ERC-7677 has no method that tells a chain: whatever it says shows that it is there, another chain's id that
        it is the wrong one."""
        try:
            answer = await self._exchange(endpoint, "eth_chainId", NO_PARAMS, self._settings.probe_seconds)
        except UpstreamFull:  # which tells nothing of it
            return
        except UpstreamUnavailable as error:
            self._note(endpoint, Health.UNREACHABLE, error.problem.removeprefix(f"{endpoint.name} "))
            return
        problem = None if answer.reply.is_error else misfit_of_chain(answer.reply, self._chain_id)
        self._note(endpoint, Health.MISCONFIGURED if problem else Health.HEALTHY, problem)


@dataclass(frozen=True, slots=True)
class BundlersAndPaymaster:
    """One `post` for both: whom a method is put to is in its name."""

    bundlers: OnceSent
    paymaster: PaymasterService

    async def post(self, method: str, params: bytes, submission: Submission | None) -> Forwarded:
        """Ask whoever answers this method. Raises `UpstreamUnavailable`."""
        if is_for_paymaster(method):
            return await self.paymaster.ask(method, params)
        return await self.bundlers.post(method, params, submission)

    def begin(self, method: str, params: bytes, hearing: Hearing, submission: Submission | None) -> bool:
        """Ask a bundler, and wait for nothing; a paymaster is waited for."""
        if is_for_paymaster(method):
            return False
        return self.bundlers.begin(method, params, hearing, submission)
