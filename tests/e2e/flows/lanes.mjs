// viem's own bundler client, no SDK client around it: session operations on several nonce keys at once.
import * as sdk from "@rhinestone/module-sdk"
import { toNexusSmartAccount } from "permissionless/accounts"
import { getAccountNonce } from "permissionless/actions"
import { concat, encodeFunctionData, pad, parseAbi, toFunctionSelector, toHex } from "viem"
import { createBundlerClient, entryPoint07Address, getUserOperationHash } from "viem/account-abstraction"
import { COUNTER, OWNABLE_VALIDATOR, TOKEN } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { counter, token, keys, chain, publicClient, rig, GAS } = scene
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }
const LANES = [1, 2, 3, 4, 5]

const account = await toNexusSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
    factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
})
await scene.fund(account.address)
const bundler = createBundlerClient({ account, chain, client: publicClient, transport: scene.bundlerTransport, pollingInterval: 200 })

const install = encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [1n, SMART_SESSIONS.address, "0x"] })
await scene.attempt("install", () => bundler.sendUserOperation({ calls: [{ to: account.address, value: 0n, data: install }], ...FEES }), bundler)

const action = (actionTarget, signature, actionPolicies) => ({ actionTarget, actionTargetSelector: toFunctionSelector(signature), actionPolicies })
const session = {
    sessionValidator: OWNABLE_VALIDATOR,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [keys.session.address] }),
    salt: pad("0x21"),
    userOpPolicies: [],
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: [
        action(COUNTER, "increment()", [sdk.getSudoPolicy()]),
        action(TOKEN, "transfer(address,uint256)", [sdk.getSpendingLimitsPolicy([{ token: TOKEN, limit: 500n }])])
    ],
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
}
const permissionId = sdk.getPermissionId({ session })
const { to, data } = sdk.getEnableSessionsAction({ sessions: [session] })
await scene.attempt("grant", () => bundler.sendUserOperation({ calls: [{ to, data, value: 0n }], ...FEES }), bundler)

const envelope = (signature) => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature })
async function send(lane, calls, gas) {
    const key = BigInt(concat([toHex(lane, { size: 3 }), "0x00", SMART_SESSIONS.address]))
    const nonce = await getAccountNonce(publicClient, { address: account.address, entryPointAddress: entryPoint07Address, key })
    const stub = envelope(sdk.getOwnableValidatorMockSignature({ threshold: 1 }))
    const op = await bundler.prepareUserOperation({ account, calls, nonce, signature: stub, ...FEES, ...gas })
    const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
    const signature = envelope(await keys.session.sign({ hash }))
    return bundler.sendUserOperation({ ...op, signature })
}

await scene.attempt("one-lane", () => send(0, [counter("increment")]), bundler)
await scene.attempt("same-lane-again", () => send(0, [counter("increment")]), bundler)

await scene.mark("all-lanes-at-once")
const hashes = await Promise.all(LANES.map((lane) => send(lane, [counter("increment")], GAS)))
const receipts = await Promise.all(hashes.map((hash) => scene.receiptOf(bundler, hash)))
await scene.report("all-lanes-at-once", { distinct: new Set(hashes).size, succeeded: receipts.filter((receipt) => receipt.success).length })

// Five transfers of 200 at once under a limit of 500: what is in flight must count.
await scene.mark("spend-at-once")
const transfer = [token("transfer", [keys.owner.address, 200n])]
const spends = await Promise.allSettled(LANES.map((lane) => send(lane, transfer, GAS)))
const accepted = spends.filter((spend) => spend.status === "fulfilled")
const refused = spends.filter((spend) => spend.status === "rejected").map((spend) => scene.rpcErrorOf(spend.reason).code)
await scene.report("spend-at-once", { accepted: accepted.length, refused })
// Where more was accepted than the limit allows, the bundler drops the rest at some time: nothing to wait for.
if (refused.length > 0) await Promise.all(accepted.map((spend) => scene.receiptOf(bundler, spend.value)))
scene.finish()
