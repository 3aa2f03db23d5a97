"""The grant that an ENABLE brings along, held against the account and the session module before anything else.

The order is the chain's: the account looks whether it has the module, the module reads the grant, the account is asked
for its owner's signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import Reason
from proxy.session import reasons
from proxy.session.emissary_grant import enable_at_emissary
from proxy.session.enable import enable_in_operation, form_of_owner, is_owned_by_nobody
from proxy.session.facts import (
    Answers,
    EmissaryNonceFact,
    EnableNonceFact,
    EnableSignatureFact,
    MissingFact,
    ModuleInstalledFact,
)
from proxy.session.outcome import NeedsFacts, Refused
from proxy.session.policy_run import Doubt
from proxy.session.revert import BARE, Revert
from proxy.session.signers import SignatureOutcome, SignatureVerdict
from proxy.session.state import SessionState
from proxy.session.transitions import Contracts, excess_of_validator_data
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.nonce import KernelMode, NexusMode, kernel_mode, nexus_mode
from proxy.userop.session_data import EnableSession
from proxy.userop.signature import SessionMode
from proxy.userop.user_operation import UserOperation


@dataclass(slots=True, kw_only=True)
class Enabling:
    """One grant. `missing` and `notes` are the verdict's own, to which it adds.

    `is_stub`: nobody has signed yet, so nothing is made of the owner's signature. `asks_account`: somebody can be asked
    whether the account has the module.
    """

    op: UserOperation
    grant: EnableSession | EmissaryEnable
    mode: SessionMode
    state: SessionState
    is_stub: bool
    asks_account: bool
    enable_signature: Doubt
    answers: Answers
    contracts: Contracts
    missing: list[MissingFact]
    notes: list[str]
    unproven: bool = False  # whether nobody could tell that the owner signed the grant
    owner_unchecked: bool = False  # the same, let pass

    def outcome(self) -> SessionState | Refused | NeedsFacts:
        """The state with the session enabled, as far as it can be told; or why it is not."""
        if self._is_absent():
            module = self.state.key.module
            revert = Revert("ValidatorNotInstalled", (module,))
            return Refused(reason=reasons.not_installed(module), revert=revert)
        after = self._enabled()
        if isinstance(after, EnableNonceFact | EmissaryNonceFact):
            return NeedsFacts((*self.missing, after))
        if isinstance(after, Revert):
            return Refused(reason=self._reason(after), revert=after)
        return after

    def _enabled(self) -> SessionState | Revert | EnableNonceFact | EmissaryNonceFact:
        if isinstance(self.grant, EmissaryEnable):
            answer = self.answers.get(EmissaryNonceFact(), self.state.enable_nonce)
            nonce = answer if isinstance(answer, int) else None
            return enable_at_emissary(self.state, self.grant, nonce, self._owner_accepts, self.contracts)
        return enable_in_operation(self.state, self.grant, self.mode, self._owner_accepts, self.contracts)

    def _is_absent(self) -> bool:
        """Whether the account says that it has no such validator. What cannot be told is no such word."""
        if not self.asks_account or isinstance(self.grant, EmissaryEnable) or _comes_before_validation(self.op):
            return False
        answer = self.answers.get(ModuleInstalledFact())
        if answer is None:
            self.missing.append(ModuleInstalledFact())
        return answer == 0

    def _owner_accepts(self, fact: EnableSignatureFact) -> bool:
        answer = self.answers.get(fact)
        if isinstance(answer, SignatureVerdict) and answer.outcome is not SignatureOutcome.UNKNOWN:
            return answer.outcome is SignatureOutcome.VALID
        if not self.is_stub and is_owned_by_nobody(fact):
            return False
        if self.enable_signature == "reject":
            self.unproven = True
        elif self.enable_signature == "ask":
            self.missing.append(fact)
        else:
            self.owner_unchecked = True
            form = form_of_owner(self.grant)
            takes = "" if form is None else f"; its validator takes {form.of('digest').wanted}"
            self.notes.append(f"the owner's signature on the grant was not checked here{takes}")
        return not self.unproven

    def _reason(self, revert: Revert) -> Reason:
        if self.unproven:
            return reasons.unproven_grant()
        excess = excess_of_validator_data(self.state.key.module, self.grant.session)
        if excess is not None and revert == BARE:
            return reasons.too_much_validator_data(*excess)
        return reasons.refused_grant(revert, form_of_owner(self.grant))


def _comes_before_validation(op: UserOperation) -> bool:
    """Whether the operation brings code or modules that its account has before it is validated, and not yet.

    The account's birth, another delegate (EIP-7702), and the modes in which Nexus, Startale and Kernel accounts may
    install a validator before they ask it.
    """
    if op.factory or op.init_code or op.eip7702_auth is not None:
        return True
    return nexus_mode(op.nonce) in (NexusMode.MODULE_ENABLE, NexusMode.PREPARE) or (
        kernel_mode(op.nonce) == KernelMode.ENABLE
    )
