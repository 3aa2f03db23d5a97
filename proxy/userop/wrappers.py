"""The functions of accounts that wrap other calls: one line each, with where it was read."""

from __future__ import annotations

from typing import Final

from proxy.record import record
from proxy.userop.arguments import selector
from proxy.userop.primitives import Selector
from proxy.userop.wrapped_calls import (
    Reader,
    batch,
    batched_call,
    calls_in_calls,
    calls_of_itself,
    calls_operation,
    columns_of_operations,
    columns_operation,
    data_first,
    execute,
    execute_user_op,
    keyed_batch,
    named_batch,
    one_call,
    operations,
    promote,
    setup_safe,
    signed_batch,
    signed_batches,
    targets_datas,
    targets_values_datas,
    timed_batch,
    to_data,
    to_data_delegated,
    to_value_data,
    to_value_data_operation,
    with_fee,
    word_says_where,
)


@record()
class Wrapper:
    """A function of an account that makes it call what is in its arguments.

    `source` is where it was read: a repository on GitHub or an ERC, and the contract or file there; empty where no
    account is known that has it.
    """

    signature: str
    selector: Selector
    read: Reader
    source: str


def _wrapper(signature: str, read: Reader, source: str) -> Wrapper:
    return Wrapper(signature, selector(signature), read, source)


_PACKED_OPERATION: Final = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"
_INIT_DATA: Final = "(address,address[],uint256,address,bytes,address,%s,bytes)"
_NESTING: Final = "(bool,address,uint256,bytes,bytes)"
_PASSKEY_INIT: Final = "initializeThenUserOp(address,address,uint256,uint256,%s,address,bytes,address,bytes)"

_SIMPLE_ACCOUNT: Final = "eth-infinitism/account-abstraction, contracts/samples/SimpleAccount.sol"
_BICONOMY: Final = "bcnmy/scw-contracts, SmartAccount.sol"
_PIMLICO: Final = "pimlicolabs/pimlico-utils, packages/webhook/src/decoders"
_BLOCKSCOUT: Final = "blockscout/blockscout-rs, user-ops-indexer/user-ops-indexer-logic/src/indexer/common.rs"
_TRUST: Final = "trustwallet/wallet-core, rust/tw_evm/src/abi/prebuild"
_OKX: Final = "okx/AccountAbstraction, SmartAccount"
_VERSA: Final = "VersaLab/versa-contract, VersaWallet.sol"
_AMBIRE: Final = "AmbireTech/ambire-common, contracts/AmbireAccount.sol"
_THIRDWEB: Final = "thirdweb-dev/js, MinimalAccount (EIP-7702)"
_SAFE_LAUNCHPAD: Final = "safe-global/safe-modules, modules/passkey/contracts/4337/SafeSignerLaunchpad.sol"
_UNSEEN: Final = ""  # no account is known that has it; its arguments can be read in one way only

WRAPPERS: Final = (
    _wrapper("execute(bytes32,bytes)", execute, "ERC-7579, IERC7579Execution; ERC-7821"),
    _wrapper("executeFromExecutor(bytes32,bytes)", execute, "ERC-7579, IERC7579Execution"),
    _wrapper(f"executeUserOp({_PACKED_OPERATION},bytes32)", execute_user_op, "ERC-4337, IAccountExecute"),
    _wrapper("execute(address,uint256,bytes)", to_value_data, _SIMPLE_ACCOUNT),
    _wrapper("execFromEntryPoint(address,uint256,bytes)", to_value_data, f"{_SIMPLE_ACCOUNT}, v0.4"),
    _wrapper("execFromEntryPoint(address[],bytes[])", targets_datas, _UNSEEN),
    _wrapper(
        "execFromEntryPoint(address[],uint256[],bytes[])",
        targets_values_datas,
        "SoulWallet/soul-wallet-contract, SoulWallet.sol, first",
    ),
    _wrapper("execFromEntryPoint(address,uint256,bytes,uint8,uint256)", to_value_data_operation, f"{_BICONOMY}, v1"),
    _wrapper("exec(address,uint256,bytes)", to_value_data, f"{_SIMPLE_ACCOUNT}, v0.4, of its owner or itself"),
    _wrapper(
        "execFromEntryPointWithFee(address,uint256,bytes,(address,address,uint256))",
        with_fee,
        f"{_PIMLICO}/execFromEntryPointWithFee.ts: FunWallet, with its fee",
    ),
    _wrapper(
        "executeFromEntryPoint(address,uint256,bytes)", to_value_data, "dawnwallet/erc4337-wallet, src/SmartWallet.sol"
    ),
    _wrapper("execute(address,bytes)", to_data, f"{_PIMLICO}/executeAddressBytes.ts"),
    _wrapper("execute(address,uint256,bytes,bytes)", to_value_data, _BLOCKSCOUT),
    _wrapper("execBatch(address[],bytes[])", targets_datas, f"{_SIMPLE_ACCOUNT}, v0.4, of its owner or itself"),
    _wrapper("execute((address,uint256,bytes))", one_call, "MetaMask/delegation-framework, src/DeleGatorCore.sol"),
    _wrapper("execute_ncC(address,uint256,bytes)", to_value_data, f"{_BICONOMY}, v2"),
    _wrapper("executeCall(address,uint256,bytes)", to_value_data, f"{_BICONOMY}, v2"),
    _wrapper("executeCall_s1m(address,uint256,bytes)", to_value_data, f"{_BICONOMY}, v2, first"),
    _wrapper(
        "executeTransaction(address,uint256,bytes)",
        to_value_data,
        "etherspot/etherspot-contracts, src/common/account/Account.sol",
    ),
    _wrapper("execute4337Op(address,uint256,bytes)", to_value_data, f"{_TRUST}/biz.rs"),
    _wrapper("execute(address,uint256,bytes,uint8)", to_value_data_operation, "zerodevapp/kernel, src/Kernel.sol, v2"),
    _wrapper("executeDelegateCall(address,bytes)", to_data_delegated, "zerodevapp/kernel, src/Kernel.sol, v2.4"),
    _wrapper("delegateExecute(address,bytes)", to_data_delegated, "Vectorized/solady, src/accounts/ERC4337.sol"),
    _wrapper("executeWithAuthorization(bytes,bytes)", word_says_where(0), "ERC-6900, IModularAccount, before 0.8"),
    _wrapper("executeWithRuntimeValidation(bytes,bytes)", word_says_where(0), "ERC-6900, IModularAccount"),
    _wrapper(
        "executeAndRevert(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "eth-infinitism/account-abstraction, contracts/samples/gnosis/EIP4337Manager.sol",
    ),
    _wrapper("execTransactionFromEntrypoint(address,uint256,bytes)", to_value_data, _OKX),
    _wrapper(
        "execTransactionFromEntrypoint(address,uint256,bytes,uint8)",
        to_value_data_operation,
        f"{_BLOCKSCOUT}: Candide's account, later",
    ),
    _wrapper(
        "execTransactionFromEntrypoint(address,uint256,bytes,uint8,address,address,uint256)",
        to_value_data_operation,
        "candidelabs/candide-contracts, contracts/candideWallet/CandideWallet.sol",
    ),
    _wrapper(
        "execBatchTransactionFromEntrypoint(address[],uint256[],bytes[],uint8)",
        columns_operation,
        f"{_PIMLICO}/execBatchTransactionFromEntrypoint.ts",
    ),
    _wrapper(f"execTransactionFromEntrypointBatch({_NESTING}[])", calls_in_calls, _OKX),
    _wrapper(f"execTransactionFromEntrypointBatchRevertOnFail({_NESTING}[])", calls_in_calls, _OKX),
    _wrapper(
        "executeUserOp(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "safe-global/safe-modules, modules/4337/contracts/Safe4337Module.sol",
    ),
    _wrapper(
        "executeUserOpWithErrorString(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "safe-global/safe-modules, modules/4337/contracts/Safe4337Module.sol",
    ),
    _wrapper(
        "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
        to_value_data_operation,
        "safe-global/safe-smart-account, contracts/Safe.sol",
    ),
    _wrapper(
        "execTransactionFromModule(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "safe-global/safe-smart-account, contracts/base/ModuleManager.sol",
    ),
    _wrapper(
        "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "safe-global/safe-smart-account, contracts/base/ModuleManager.sol",
    ),
    *(
        _wrapper(f"{kind}Execute(address,uint256,bytes,uint8)", to_value_data_operation, _VERSA)
        for kind in ("normal", "sudo")
    ),
    *(
        _wrapper(f"batch{kind}Execute(address[],uint256[],bytes[],uint8[])", columns_of_operations, _VERSA)
        for kind in ("Normal", "Sudo")
    ),
    _wrapper("executeBatch((address,uint256,bytes,uint8)[])", operations, "tokenbound/contracts, src/AccountV3.sol"),
    _wrapper(
        "executeBatch((address,uint256,bytes)[],uint8)", calls_operation, "Vectorized/solady, src/accounts/ERC6551.sol"
    ),
    _wrapper(
        "executeBatch((address,uint256,bytes)[])",
        batch,
        "coinbase/smart-wallet, src/CoinbaseSmartWallet.sol; eth-infinitism/account-abstraction, v0.8",
    ),
    _wrapper("execute4337Ops((address,uint256,bytes)[])", batch, f"{_TRUST}/biz.rs"),
    _wrapper("executeWithSignature((address,uint256,bytes)[],bytes)", signed_batch, f"{_TRUST}/biz.rs"),
    _wrapper(
        "executeWithSignature((address,uint256,bytes)[],uint256,bytes)",
        timed_batch,
        f"{_TRUST}/biz_passkey_session.rs",
    ),
    _wrapper(
        "executeWithPasskeySession((address,uint256,bytes)[],uint256,bytes)",
        timed_batch,
        f"{_TRUST}/biz_passkey_session.rs",
    ),
    _wrapper("execute((address,uint256,bytes)[],bytes)", signed_batch, _AMBIRE),
    _wrapper("execute((address,uint256,bytes)[])", batch, _THIRDWEB),
    _wrapper("executeWithSig(((address,uint256,bytes)[],bytes32),bytes)", named_batch, _THIRDWEB),
    _wrapper("executeFromSelf((address,uint256,bytes)[])", batch, "okx/wallet-core, WalletCore (EIP-7702)"),
    _wrapper("execute((bytes,address,uint256)[])", data_first, "wevm/viem, guide to EIP-7702, BatchCallDelegation"),
    _wrapper(
        "executeWithSessionKey((address,uint256,bytes)[],address)",
        keyed_batch,
        "alchemyplatform/modular-account, SessionKeyPlugin.sol, v1",
    ),
    _wrapper("tryCatch(address,uint256,bytes)", to_value_data, f"{_AMBIRE}, of itself"),
    _wrapper("tryCatchLimit(address,uint256,bytes,uint256)", to_value_data, f"{_AMBIRE}, of itself"),
    _wrapper("executeBySender((address,uint256,bytes)[])", batch, _AMBIRE),
    _wrapper("executeBySelf((address,uint256,bytes)[])", batch, _AMBIRE),
    _wrapper("executeBySelfSingle((address,uint256,bytes))", one_call, _AMBIRE),
    _wrapper("executeMultiple(((address,uint256,bytes)[],bytes)[])", signed_batches, _AMBIRE),
    _wrapper(
        "executeWithoutChainIdValidation(bytes[])",
        calls_of_itself,
        "coinbase/smart-wallet, src/CoinbaseSmartWallet.sol",
    ),
    _wrapper(
        "executeWithoutChainIdValidation(bytes)",
        word_says_where(0),
        "coinbase/smart-wallet, src/CoinbaseSmartWallet.sol, before its release",
    ),
    _wrapper("executeBatch(address[],bytes[])", targets_datas, f"{_SIMPLE_ACCOUNT}, v0.6"),
    _wrapper("executeBatch(address[],uint256[],bytes[])", targets_values_datas, f"{_SIMPLE_ACCOUNT}, v0.7"),
    _wrapper("executeBatch_y6U(address[],uint256[],bytes[])", targets_values_datas, f"{_BICONOMY}, v2"),
    _wrapper("executeBatchCall_4by(address[],uint256[],bytes[])", targets_values_datas, f"{_BICONOMY}, v2, first"),
    _wrapper("executeBatchCall(address[],uint256[],bytes[])", targets_values_datas, f"{_BICONOMY}, v2"),
    _wrapper("execute(((address,uint256,bytes)[],bool))", batched_call, "Uniswap/calibur, BatchedCall"),
    _wrapper(
        f"setupSafe({_INIT_DATA % '(address,bytes,uint256)[]'})",
        setup_safe,
        "rhinestonewtf/safe7579, src/Safe7579Launchpad.sol",
    ),
    _wrapper(
        f"setupSafe({_INIT_DATA % '(address,bytes)[]'})",
        setup_safe,
        "rhinestonewtf/safe7579, src/Safe7579Launchpad.sol, earlier",
    ),
    _wrapper(
        "initializeThenUserOp(address,bytes,bytes)", word_says_where(2), "safe-global/safe-modules, SafeOpLaunchpad.sol"
    ),
    _wrapper(
        "initializeThenUserOp(address,bytes,bytes,bytes)",
        word_says_where(2),
        "safe-global/safe-modules, SafeOpLaunchpad.sol",
    ),
    _wrapper(
        "initializeThenUserOp(address,address,bytes,address,bytes,address,bytes)",
        word_says_where(6),
        f"{_SAFE_LAUNCHPAD}; rhinestonewtf/safe7579, first",
    ),
    *(
        _wrapper(_PASSKEY_INIT % verifiers, word_says_where(8), _SAFE_LAUNCHPAD)
        for verifiers in ("uint176", "uint192", "address")
    ),
    *(
        _wrapper(
            f"promoteAccountAndExecuteUserOp(address,uint256,uint256,{verifiers},address,uint256,bytes,uint8)",
            promote,
            f"{_SAFE_LAUNCHPAD}, 0.2",
        )
        for verifiers in ("uint176", "uint192")
    ),
)
"""The functions by which an entry point has accounts make other calls, and where each was read."""

WRAPPER_BY_SELECTOR: Final = {bytes(wrapper.selector): wrapper for wrapper in WRAPPERS}
