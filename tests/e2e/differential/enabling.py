"""Operations in the ENABLE modes, with good grants, bad ones and grants that are not new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from coincurve import PrivateKey

from proxy.session.addresses import SMART_SESSION
from proxy.session.enable_digest import multichain_digest, session_digest
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.session_data import ChainDigest, EnableSession, PolicyData, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt, Draft, apply
from tests.e2e.differential.grants import INCREMENT, Grant
from tests.e2e.differential.operations import draft_of
from tests.e2e.differential.twists import SIGNATURE_TWISTS
from tests.e2e.differential.wallet import COUNTER, MOST_GAS, OWNER_VALIDATOR, eth_sign, personal_sign, sign
from tests.e2e.rig import CHAIN_ID
from tests.session.builders import TIME, action, spending, sudo, time_frame, usage, value_limit, word


@dataclass
class Offer:
    """What an owner signs, before and after somebody has meddled with it."""

    session: SessionData
    mode: SessionMode
    nonce: int
    signer: PrivateKey
    chain_ids: tuple[int, ...] = (CHAIN_ID,)
    index: int = 0
    shown: SessionData | None = None  # the session in the envelope, where it is not the one that was signed
    shown_mode: SessionMode | None = None
    by: Callable[[PrivateKey, bytes], bytes] | None = None  # in which form; either of those that the release takes

    def signed(self, account: Address, rng: Dice) -> tuple[SessionMode, EnableSession]:
        digest = session_digest(
            self.session, account=account, smart_session=SMART_SESSION, mode=self.mode, nonce=self.nonce
        )
        digests = tuple(
            ChainDigest(chain_id, digest if chain_id == CHAIN_ID else Hash32(rng.randbytes(32)))
            for chain_id in self.chain_ids
        )
        by = self.by or rng.choice([sign, eth_sign])
        return self.shown_mode or self.mode, EnableSession(
            chain_digest_index=self.index,
            digests=digests,
            session=self.shown or self.session,
            permission_enable_signature=OWNER_VALIDATOR + by(self.signer, multichain_digest(digests)),
        )


def an_enable(rng: Dice, grant: Grant, stranger: PrivateKey) -> Attempt:
    """An operation that brings its own grant along; a third of them in order."""
    draft = draft_of(rng, grant, stranger)
    draft.orders = draft.orders[:2]
    draft.pack()
    draft.fields |= MOST_GAS
    draft.labels.append("enable")
    mode = rng.choice([SessionMode.ENABLE, SessionMode.UNSAFE_ENABLE])
    offer = Offer(grant.session, mode, grant.nonce, grant.wallet.owner)
    chosen = rng.random()
    if grant.signed is not None and chosen < 0.3:
        draft.labels.append("replayed")
        return _with_envelope(draft, *grant.signed)
    if 0.3 < chosen < 0.75:
        label = rng.deal(OFFER_TWISTS)
        draft.labels.append(label)
        OFFER_TWISTS[label](rng, offer, stranger)
    if 0.73 < chosen < 0.8:
        apply(draft, SIGNATURE_TWISTS)
    return _with_envelope(draft, *offer.signed(grant.wallet.address, rng))


def _with_envelope(draft: Draft, mode: SessionMode, enable: EnableSession) -> Attempt:
    grant = draft.grant
    permission_id = enable.session.permission_id
    draft.envelope = SessionEnvelope(mode=mode, permission_id=permission_id, signature=b"", enable=enable)

    def taken() -> None:
        grant.nonce += 1
        grant.signed = mode, enable
        grant.afresh()

    return draft.finish(taken)


OfferTwist = Callable[[Dice, Offer, PrivateKey], None]


def _shows(change: Callable[[SessionData], SessionData]) -> OfferTwist:
    def twist(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
        offer.shown = change(offer.session)

    return twist


def _signs(change: Callable[[SessionData], SessionData]) -> OfferTwist:
    def twist(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
        offer.session = change(offer.session)

    return twist


def _also(*policies: PolicyData) -> Callable[[SessionData], SessionData]:
    return lambda session: replace(session, user_op_policies=(*session.user_op_policies, *policies))


def _acts_on(target: Address) -> Callable[[SessionData], SessionData]:
    return lambda session: replace(session, actions=(*session.actions, action(target, INCREMENT, sudo)))


def _other_mode(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
    both = {SessionMode.ENABLE, SessionMode.UNSAFE_ENABLE}
    (offer.shown_mode,) = both - {offer.mode}


def _by_stranger(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
    offer.signer = stranger


def _as_message(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
    offer.by = personal_sign


def _nonce(step: int) -> OfferTwist:
    def twist(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
        offer.nonce += step

    return twist


def _for_chains(chain_ids: tuple[int, ...], index: int) -> OfferTwist:
    def twist(rng: Dice, offer: Offer, stranger: PrivateKey) -> None:
        offer.chain_ids, offer.index = chain_ids, index

    return twist


OFFER_TWISTS: Mapping[str, OfferTwist] = {
    "several chains": _for_chains((1, CHAIN_ID, 10), 1),
    "index of another chain": _for_chains((1, CHAIN_ID), 0),
    "index out of range": _for_chains((CHAIN_ID,), 1),
    "the other mode": _other_mode,
    "next nonce": _nonce(1),
    "signed by a stranger": _by_stranger,
    "signed as a message": _as_message,
    "other salt": _shows(lambda session: replace(session, salt=Hash32(word(2**250)))),
    "paymaster permitted by hand": _shows(
        lambda session: replace(session, permit_erc4337_paymaster=not session.permit_erc4337_paymaster)
    ),
    "actions widened": _shows(_acts_on(COUNTER)),
    "policies dropped": _shows(lambda session: replace(session, user_op_policies=session.user_op_policies[1:])),
    "one use": _signs(_also(usage(1))),
    "usage limit of zero": _signs(_also(usage(0))),
    "value limit of zero": _signs(_also(value_limit(0))),
    "window that ends before it begins": _signs(_also(time_frame(5, 6))),
    "window without bounds": _signs(_also(time_frame(0))),
    "short policy data": _signs(_also(PolicyData(TIME, bytes(11)))),
    "policy that is no contract": _signs(_also(PolicyData(Address(b"\x99" * 20), b""))),
    "policy of the wrong kind": _signs(_also(spending((COUNTER, 1)))),
    "action on nobody": _signs(_acts_on(ZERO_ADDRESS)),
    "action on the module": _signs(_acts_on(SMART_SESSION)),
    "expires in 1970": _signs(_also(time_frame(5))),
}
