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
    """A function of an account that makes it call what is in its arguments."""

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

WRAPPERS: Final = (
    _wrapper("execute(bytes32,bytes)", execute, "ERC-7579 IERC7579Execution; ERC-7821"),
    _wrapper("executeFromExecutor(bytes32,bytes)", execute, "ERC-7579 IERC7579Execution"),
    _wrapper(f"executeUserOp({_PACKED_OPERATION},bytes32)", execute_user_op, "ERC-4337 IAccountExecute"),
    _wrapper("execute(address,uint256,bytes)", to_value_data, "eth-infinitism SimpleAccount"),
    _wrapper("execFromEntryPoint(address,uint256,bytes)", to_value_data, "eth-infinitism SimpleAccount 0.4"),
    _wrapper("execFromEntryPoint(address[],bytes[])", targets_datas, "by its signature alone"),
    _wrapper("execFromEntryPoint(address[],uint256[],bytes[])", targets_values_datas, "SoulWallet, first"),
    _wrapper(
        "execFromEntryPoint(address,uint256,bytes,uint8,uint256)", to_value_data_operation, "Biconomy SmartAccount v1"
    ),
    _wrapper("exec(address,uint256,bytes)", to_value_data, "eth-infinitism SimpleAccount 0.4, of its owner or itself"),
    _wrapper(
        "execFromEntryPointWithFee(address,uint256,bytes,(address,address,uint256))",
        with_fee,
        "FunWallet, with its fee",
    ),
    _wrapper("executeFromEntryPoint(address,uint256,bytes)", to_value_data, "by its signature alone"),
    _wrapper("execute(address,bytes)", to_data, "pimlico-utils webhook decoders; by its signature alone"),
    _wrapper("execute(address,uint256,bytes,bytes)", to_value_data, "blockscout user-ops-indexer; likewise"),
    _wrapper("execBatch(address[],bytes[])", targets_datas, "eth-infinitism SimpleAccount 0.4, likewise"),
    _wrapper("execute((address,uint256,bytes))", one_call, "MetaMask delegation-framework DeleGatorCore"),
    _wrapper("execute_ncC(address,uint256,bytes)", to_value_data, "Biconomy SmartAccount v2"),
    _wrapper("executeCall(address,uint256,bytes)", to_value_data, "Biconomy SmartAccount v2"),
    _wrapper("executeCall_s1m(address,uint256,bytes)", to_value_data, "Biconomy SmartAccount v2, first"),
    _wrapper("executeTransaction(address,uint256,bytes)", to_value_data, "by its signature alone"),
    _wrapper("execute4337Op(address,uint256,bytes)", to_value_data, "Trust Wallet wallet-core, Biz account"),
    _wrapper("execute(address,uint256,bytes,uint8)", to_value_data_operation, "ZeroDev Kernel v2"),
    _wrapper("executeDelegateCall(address,bytes)", to_data_delegated, "ZeroDev Kernel v2.4"),
    _wrapper("delegateExecute(address,bytes)", to_data_delegated, "Solady ERC4337"),
    _wrapper("executeWithAuthorization(bytes,bytes)", word_says_where(0), "ERC-6900 before 0.8"),
    _wrapper("executeWithRuntimeValidation(bytes,bytes)", word_says_where(0), "ERC-6900 IERC6900ModularAccount"),
    _wrapper(
        "executeAndRevert(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "eth-infinitism EIP4337Manager of a Safe",
    ),
    _wrapper("execTransactionFromEntrypoint(address,uint256,bytes)", to_value_data, "OKX SmartAccount"),
    _wrapper(
        "execTransactionFromEntrypoint(address,uint256,bytes,uint8)", to_value_data_operation, "Candide account, later"
    ),
    _wrapper(
        "execTransactionFromEntrypoint(address,uint256,bytes,uint8,address,address,uint256)",
        to_value_data_operation,
        "Candide CandideWallet",
    ),
    _wrapper(
        "execBatchTransactionFromEntrypoint(address[],uint256[],bytes[],uint8)",
        columns_operation,
        "pimlico-utils webhook decoders",
    ),
    _wrapper(f"execTransactionFromEntrypointBatch({_NESTING}[])", calls_in_calls, "OKX SmartAccount"),
    _wrapper(f"execTransactionFromEntrypointBatchRevertOnFail({_NESTING}[])", calls_in_calls, "OKX SmartAccount"),
    _wrapper("executeUserOp(address,uint256,bytes,uint8)", to_value_data_operation, "Safe Safe4337Module"),
    _wrapper("executeUserOpWithErrorString(address,uint256,bytes,uint8)", to_value_data_operation, "Safe4337Module"),
    _wrapper(
        "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
        to_value_data_operation,
        "Safe",
    ),
    _wrapper("execTransactionFromModule(address,uint256,bytes,uint8)", to_value_data_operation, "Safe ModuleManager"),
    _wrapper(
        "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)",
        to_value_data_operation,
        "Safe ModuleManager",
    ),
    *(
        _wrapper(f"{kind}Execute(address,uint256,bytes,uint8)", to_value_data_operation, "Versa VersaWallet")
        for kind in ("normal", "sudo")
    ),
    *(
        _wrapper(f"batch{kind}Execute(address[],uint256[],bytes[],uint8[])", columns_of_operations, "VersaWallet")
        for kind in ("Normal", "Sudo")
    ),
    _wrapper("executeBatch((address,uint256,bytes,uint8)[])", operations, "Tokenbound AccountV3 (ERC-6551)"),
    _wrapper("executeBatch((address,uint256,bytes)[],uint8)", calls_operation, "Solady ERC6551"),
    _wrapper("executeBatch((address,uint256,bytes)[])", batch, "eth-infinitism SimpleAccount 0.8; Coinbase"),
    _wrapper("execute4337Ops((address,uint256,bytes)[])", batch, "Trust Wallet wallet-core, Biz account"),
    _wrapper("executeWithSignature((address,uint256,bytes)[],bytes)", signed_batch, "Trust Wallet Biz account"),
    _wrapper(
        "executeWithSignature((address,uint256,bytes)[],uint256,bytes)",
        timed_batch,
        "Trust Wallet Biz passkey account",
    ),
    _wrapper("executeWithPasskeySession((address,uint256,bytes)[],uint256,bytes)", timed_batch, "likewise"),
    _wrapper("execute((address,uint256,bytes)[],bytes)", signed_batch, "Ambire AmbireAccount"),
    _wrapper("execute((address,uint256,bytes)[])", batch, "thirdweb MinimalAccount (EIP-7702)"),
    _wrapper("executeWithSig(((address,uint256,bytes)[],bytes32),bytes)", named_batch, "thirdweb MinimalAccount"),
    _wrapper("executeFromSelf((address,uint256,bytes)[])", batch, "OKX WalletCore (EIP-7702)"),
    _wrapper("execute((bytes,address,uint256)[])", data_first, "viem's guide to EIP-7702, BatchCallDelegation"),
    _wrapper("executeWithSessionKey((address,uint256,bytes)[],address)", keyed_batch, "Alchemy SessionKeyPlugin"),
    _wrapper("tryCatch(address,uint256,bytes)", to_value_data, "Ambire AmbireAccount, of itself"),
    _wrapper("tryCatchLimit(address,uint256,bytes,uint256)", to_value_data, "Ambire AmbireAccount, of itself"),
    _wrapper("executeBySender((address,uint256,bytes)[])", batch, "Ambire AmbireAccount"),
    _wrapper("executeBySelf((address,uint256,bytes)[])", batch, "Ambire AmbireAccount"),
    _wrapper("executeBySelfSingle((address,uint256,bytes))", one_call, "Ambire AmbireAccount"),
    _wrapper("executeMultiple(((address,uint256,bytes)[],bytes)[])", signed_batches, "Ambire AmbireAccount"),
    _wrapper("executeWithoutChainIdValidation(bytes[])", calls_of_itself, "Coinbase CoinbaseSmartWallet"),
    _wrapper("executeWithoutChainIdValidation(bytes)", word_says_where(0), "CoinbaseSmartWallet before its release"),
    _wrapper("executeBatch(address[],bytes[])", targets_datas, "eth-infinitism SimpleAccount 0.6"),
    _wrapper("executeBatch(address[],uint256[],bytes[])", targets_values_datas, "eth-infinitism SimpleAccount 0.7"),
    _wrapper("executeBatch_y6U(address[],uint256[],bytes[])", targets_values_datas, "Biconomy SmartAccount v2"),
    _wrapper("executeBatchCall_4by(address[],uint256[],bytes[])", targets_values_datas, "SmartAccount v2, first"),
    _wrapper("executeBatchCall(address[],uint256[],bytes[])", targets_values_datas, "Biconomy SmartAccount v2"),
    _wrapper("execute(((address,uint256,bytes)[],bool))", batched_call, "Uniswap Calibur BatchedCall"),
    _wrapper(f"setupSafe({_INIT_DATA % '(address,bytes,uint256)[]'})", setup_safe, "Safe7579 launchpad"),
    _wrapper(f"setupSafe({_INIT_DATA % '(address,bytes)[]'})", setup_safe, "Safe7579 launchpad, earlier"),
    _wrapper("initializeThenUserOp(address,bytes,bytes)", word_says_where(2), "Safe passkey SafeOpLaunchpad"),
    _wrapper("initializeThenUserOp(address,bytes,bytes,bytes)", word_says_where(2), "Safe passkey SafeOpLaunchpad"),
    _wrapper(
        "initializeThenUserOp(address,address,bytes,address,bytes,address,bytes)",
        word_says_where(6),
        "Safe passkey SafeSignerLaunchpad; Safe7579 launchpad, first",
    ),
    *(
        _wrapper(_PASSKEY_INIT % verifiers, word_says_where(8), "Safe passkey SafeSignerLaunchpad")
        for verifiers in ("uint176", "uint192", "address")
    ),
    *(
        _wrapper(
            f"promoteAccountAndExecuteUserOp(address,uint256,uint256,{verifiers},address,uint256,bytes,uint8)",
            promote,
            "Safe passkey SafeSignerLaunchpad 0.2",
        )
        for verifiers in ("uint176", "uint192")
    ),
)
"""The functions by which an entry point has accounts make other calls, and where each was read."""

WRAPPER_BY_SELECTOR: Final = {bytes(wrapper.selector): wrapper for wrapper in WRAPPERS}
