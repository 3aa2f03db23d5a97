"""One reading of an operation, made once: hash, claim, calls, value moved, administration.

Every later question is asked of this value, so that the gate, the audit and the command line cannot read the same
bytes in two ways.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from typing import Final, NamedTuple

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop.administration import (
    VALIDATOR_TYPE,
    Act,
    acts_in_factory_data,
    acts_in_setup,
    acts_of,
    acts_of_install,
)
from proxy.userop.budget import Budget, Overspent
from proxy.userop.declared_module import DeclaredModule, declared_in
from proxy.userop.emissary import decode_envelope
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.execution import Call, CallType, Execution, decode_execution
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.nonce import (
    KernelMode,
    KernelType,
    NexusMode,
    NonceLayout,
    find_session_module,
    kernel_mode,
    kernel_type,
    nexus_mode,
)
from proxy.userop.primitives import Address, Hash32
from proxy.userop.secp256k1 import SIGNATURE
from proxy.userop.signature import (
    AccountPreparation,
    KernelEnable,
    ModuleEnable,
    SessionEnvelope,
    SessionMode,
    Wrapping,
    decode_account_preparation,
    decode_kernel_enable,
    decode_module_enable,
)
from proxy.userop.transfers import Movement, movements_of
from proxy.userop.user_op_hash import DelegateUnknown, user_op_hash
from proxy.userop.user_operation import UserOperation

_ENVELOPE_HEAD: Final = 33  # mode and permission id
# looked up once, not of every operation
_USE: Final = SessionMode.USE.value
_NEXUS, _KERNEL = NonceLayout.NEXUS, NonceLayout.KERNEL
_SWITCHING: Final = (NexusMode.MODULE_ENABLE, NexusMode.PREPARE)


class MisnamedModule(Undecodable):
    """A nonce that has a session module's address where its account looks for something else."""


class SessionClaim(NamedTuple):
    """A session module that the operation names as its validator, and what is put before that module.

    `module_enable` is what the account installs or runs before it validates, when the nonce says so.
    """

    module: Address
    layout: NonceLayout
    envelope: SessionEnvelope
    module_enable: Wrapping | None = None


@record()
class DecodedOperation:
    """An operation and everything that can be read from it alone.

    `told_hash` is `None` where the hash covers an EIP-7702 delegate that nobody told, and nothing judged needs it.
    `claim` is `None` for owner and foreign operations. `execution` is `None` when such an operation's call data is
    not an `execute` we can read; a session's is always there. For a session's `execute`, `calls` are its calls as
    the module sees them; otherwise they are a best effort.
    """

    op: UserOperation
    entry_point: EntryPoint
    chain_id: int
    told_hash: Hash32 | None
    claim: SessionClaim | None
    execution: Execution | None
    calls: tuple[Call, ...]
    movements: tuple[Movement, ...]
    acts: tuple[Act, ...]
    acts_of_calls: int = 0  # how many of the acts, the last ones, stand only when the calls succeed
    budget: Budget = field(default_factory=Budget, compare=False, repr=False)  # what may still be spent on it
    sponsored: bool = False  # it will name a paymaster, whatever it does now

    @property
    def is_unsigned(self) -> bool:
        """Whether it is asked about before anybody, or a stub, has signed it: nobody can tell by whom it will be."""
        return self.sponsored and not self.op.signature

    @property
    def user_op_hash(self) -> Hash32:
        """The hash, of an operation that has to have one: whatever is signed by a session or held in a ledger."""
        if self.told_hash is None:
            raise ValueError("the hash of this operation could not be told")
        return self.told_hash


def decode_operation(
    op: UserOperation,
    entry_point: EntryPoint,
    chain_id: int,
    session_modules: Collection[Address],
    *,
    delegate: Address | None = None,
    preview: bool = False,
) -> DecodedOperation:
    """Read an operation. `delegate` is the sender's EIP-7702 delegate on chain, when there is one. In a `preview`
    the signature is a stub, so that nothing needs the hash it would sign.

    Raises `Undecodable` when a session module is named and the operation cannot be read exactly as it would read it,
    `DelegateUnknown` among it for a session's hash that cannot be told (see `user_op_hash`).
    """
    head = decode_head(op, entry_point, chain_id, session_modules, delegate=delegate, preview=preview)
    return decode_calls(head, session_modules)


def decode_head(
    op: UserOperation,
    entry_point: EntryPoint,
    chain_id: int,
    session_modules: Collection[Address],
    *,
    delegate: Address | None = None,
    preview: bool = False,
    sponsored: bool = False,
) -> DecodedOperation:
    """As `decode_operation`, without a look at what is called: claim and hash, which tell who signed, cost little.

    One that is `sponsored` is asked about before it is whole: without a signature it claims nothing.
    """
    budget = Budget()
    named = None if sponsored and not op.signature else find_session_module(op.nonce, session_modules)
    told_hash = _hash_of(op, entry_point, chain_id, delegate, needed=named is not None and not preview)
    claim = None
    if named is not None:
        signed = None if preview else told_hash
        claim = _claim_at(named, op, entry_point, session_modules, budget, user_op_hash=signed)
    return DecodedOperation(
        op=op,
        entry_point=entry_point,
        chain_id=chain_id,
        told_hash=told_hash,
        claim=claim,
        execution=None,
        calls=(),
        movements=(),
        acts=(),
        budget=budget,
        sponsored=sponsored,
    )


def decode_calls(head: DecodedOperation, session_modules: Collection[Address]) -> DecodedOperation:
    """The whole reading of an operation whose head was read. Raises `Undecodable`."""
    op, claim, budget = head.op, head.claim, head.budget
    before = _acts_before(op, claim, session_modules, budget)
    if claim is None:
        execution, calls = _owner_execution(op, budget)
    else:
        execution = decode_execution(op.call_data, budget)
        calls = _session_calls(op, execution, budget)
    movements = movements_of(calls, op.sender, budget=budget)
    after = acts_in_setup(op.call_data, session_modules, budget) + acts_of(calls, op.sender, session_modules, budget)
    return DecodedOperation(
        op=op,
        entry_point=head.entry_point,
        chain_id=head.chain_id,
        told_hash=head.told_hash,
        claim=claim,
        execution=execution,
        calls=calls,
        movements=movements,
        acts=before + after,
        acts_of_calls=len(after),
        budget=budget,
        sponsored=head.sponsored,
    )


def _hash_of(
    op: UserOperation, entry_point: EntryPoint, chain_id: int, delegate: Address | None, *, needed: bool
) -> Hash32 | None:
    try:
        return user_op_hash(op, entry_point, chain_id, delegate=delegate)
    except DelegateUnknown:
        if needed:
            raise
        return None


def decode_claim(
    op: UserOperation,
    entry_point: EntryPoint,
    session_modules: Collection[Address],
    budget: Budget | None = None,
    *,
    user_op_hash: Hash32 | None = None,
) -> SessionClaim | None:
    """The session claim of an operation; `None` when its nonce names no listed module. Raises `Undecodable`.

    `user_op_hash` is what a session of a declared module may be told by; of a preview, whose signature is a stub,
    there is none.
    """
    named = find_session_module(op.nonce, session_modules)
    if named is None:
        return None
    return _claim_at(named, op, entry_point, session_modules, budget, user_op_hash=user_op_hash)


def plainly_claimed(nonce: int, signature: bytes, session_modules: Collection[Address]) -> Hash32 | None:
    """The permission id where `decode_claim` finds the use of a session of a published module and nothing wrapped
    around it, which is nearly always; `None` where it has to be asked. Of no v0.6 operation."""
    named = find_session_module(nonce, session_modules)
    if named is None or len(signature) < _ENVELOPE_HEAD or signature[0] != _USE:
        return None
    module, layout = named
    if layout is _NEXUS:
        wrapped = nonce >> 224 & 0xFF in _SWITCHING
    else:
        wrapped = layout is _KERNEL and nonce >> 248 != KernelMode.DEFAULT
    if wrapped or module in EMISSARIES or declared_in(session_modules, module) is not None:
        return None
    return Hash32(signature[1:_ENVELOPE_HEAD])


def _claim_at(
    named: tuple[Address, NonceLayout],
    op: UserOperation,
    entry_point: EntryPoint,
    session_modules: Collection[Address],
    budget: Budget | None,
    *,
    user_op_hash: Hash32 | None,
) -> SessionClaim:
    module, layout = named
    if entry_point.version is EntryPointVersion.V06:
        raise Undecodable("nonce", "names a session module, which takes no v0.6 operations")
    try:
        declared = declared_in(session_modules, module)
        wrapping = _unwrap(op, layout, declared or module, budget)
        signature = op.signature if wrapping is None else wrapping.inner
        if declared is None:
            envelope = decode_envelope(module, signature, budget)
        else:
            envelope = declared.read_envelope(signature, user_op_hash, budget)
    except Undecodable as error:
        # the signature is not the module's to read: whoever is told what is wrong with it looks in the wrong place
        raise misnaming_of(op.nonce, layout) or error from None
    return SessionClaim(module=module, layout=layout, envelope=envelope, module_enable=wrapping)


def misnaming_of(nonce: int, layout: NonceLayout) -> MisnamedModule | None:
    """Why the session module is not heard although the nonce has its address: Kernel takes it for something else."""
    if layout is not NonceLayout.KERNEL or (found := kernel_type(nonce)) == KernelType.VALIDATOR:
        return None
    meant = {
        KernelType.ROOT: "which Kernel reads as its root validator, whatever address follows",
        KernelType.PERMISSION: "which Kernel reads as a permission of its own, not as a validator",
    }.get(found, "which Kernel does not know")
    return MisnamedModule("nonce", f"names the session module under type {found:02x}, {meant}: a session needs type 01")


def _unwrap(
    op: UserOperation, layout: NonceLayout, module: Address | DeclaredModule, budget: Budget | None
) -> Wrapping | None:
    """What the account itself reads off the signature before the validator sees it."""
    if layout is NonceLayout.NEXUS:
        mode = nexus_mode(op.nonce)
        if mode == NexusMode.MODULE_ENABLE:
            return decode_module_enable(op.signature)
        if mode == NexusMode.PREPARE:
            # Startale knows no such mode and hands the signature on whole: refuse what could be read both ways
            if _is_plain_envelope(module, op.signature, budget):
                raise Undecodable("signature", "means one thing to Nexus and another to Startale accounts")
            return decode_account_preparation(op.signature, budget)
    elif layout is NonceLayout.KERNEL:
        mode = kernel_mode(op.nonce)
        if mode == KernelMode.ENABLE:
            return decode_kernel_enable(op.signature, budget)
        if mode != KernelMode.DEFAULT:
            raise Undecodable("nonce", f"unknown Kernel validation mode {mode}")
    return None


def _is_plain_envelope(module: Address | DeclaredModule, signature: bytes, budget: Budget | None) -> bool:
    try:
        if isinstance(module, DeclaredModule):
            return len(module.read_envelope(signature, None, budget).signature) == SIGNATURE
        decode_envelope(module, signature, budget)
    except Undecodable:
        return False
    return True


def _session_calls(op: UserOperation, execution: Execution, budget: Budget) -> tuple[Call, ...]:
    if execution.is_execute and execution.call_type in (CallType.SINGLE, CallType.BATCH):
        return execution.calls
    return calls_for_inspection(op.call_data, op.sender, budget)


def _owner_execution(op: UserOperation, budget: Budget) -> tuple[Execution | None, tuple[Call, ...]]:
    try:
        calls = calls_for_inspection(op.call_data, op.sender, budget)
        execution = decode_execution(op.call_data, budget)
    except Overspent:
        return None, (Call(op.sender, 0, op.call_data),)
    except Undecodable:
        return None, calls
    return (execution if execution.is_execute else None), calls


def _acts_before(
    op: UserOperation, claim: SessionClaim | None, session_modules: Collection[Address], budget: Budget
) -> tuple[Act, ...]:
    """What the account does before its calls, in order: at its birth, then before validation."""
    acts: tuple[Act, ...] = ()
    if op.factory_data:
        acts += acts_in_factory_data(op.factory_data, session_modules, budget)
    elif op.init_code:
        acts += acts_in_factory_data(op.init_code[20:], session_modules, budget)
    if claim is None:
        acts += _acts_in_owner_signature(op, session_modules, budget)
    elif claim.module_enable is not None:
        acts += _acts_in_wrapping(claim.module_enable, claim.module, session_modules, budget)
    return acts


def _acts_in_wrapping(
    wrapping: Wrapping, module: Address, session_modules: Collection[Address], budget: Budget
) -> tuple[Act, ...]:
    match wrapping:
        case ModuleEnable():
            return acts_of_install(wrapping.module_type, wrapping.module, wrapping.init_data, session_modules, budget)
        case KernelEnable():
            return acts_of_install(VALIDATOR_TYPE, module, wrapping.validator_data, session_modules, budget)
        case AccountPreparation():
            return acts_in_factory_data(wrapping.init_data, session_modules, budget)


def _acts_in_owner_signature(
    op: UserOperation, session_modules: Collection[Address], budget: Budget
) -> tuple[Act, ...]:
    """A session module that a Nexus or Startale account installs on its owner's word.

    Whether it is such an account is not known here: other nonces have a 01 in the same place by chance, so only data
    that names a listed module counts.
    """
    if nexus_mode(op.nonce) != NexusMode.MODULE_ENABLE:
        return ()
    try:
        enable = decode_module_enable(op.signature)
    except Undecodable:
        return ()
    if enable.module not in session_modules:
        return ()
    return acts_of_install(enable.module_type, enable.module, enable.init_data, session_modules, budget)
