// Raw JSON-RPC with one session: what a bundler says to malformed requests, and to operations it refuses for
// reasons of its own (nonce, gas, funds, mempool), and odd operations only a hand-made client would send.
import * as sdk from "@rhinestone/module-sdk"
import { createSmartAccountClient } from "permissionless"
import { toNexusSmartAccount } from "permissionless/accounts"
import { getAccountNonce } from "permissionless/actions"
import { concat, encodeFunctionData, numberToHex, pad, parseAbi, parseEther, toFunctionSelector, toHex } from "viem"
import { entryPoint07Address, formatUserOperationRequest, getUserOperationHash } from "viem/account-abstraction"
import { COUNTER, OWNABLE_VALIDATOR } from "../rig/addresses.mjs"
import { rpc, sleep } from "../rig/rpc.mjs"
import * as scene from "./scene.mjs"

const { counter, keys, chain, publicClient, rig } = scene
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }
const LIMITS = { callGasLimit: 200000n, verificationGasLimit: 900000n, preVerificationGas: 80000n, ...FEES }

const account = await toNexusSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
    factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
})
const sender = account.address
const setBalance = (wei) => rpc(rig.node, "anvil_setBalance", [sender, numberToHex(wei)])
await setBalance(parseEther("10"))
const owner = createSmartAccountClient({
    account, chain, client: publicClient, pollingInterval: 200, bundlerTransport: scene.bundlerTransport,
    userOperation: { estimateFeesPerGas: async () => FEES }
})

async function post(body) {
    const response = await fetch(scene.bundlerUrl, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body)
    })
    const text = await response.text()
    return { status: response.status, answer: text === "" ? null : JSON.parse(text) }
}
async function exchange(step, body) {
    await scene.mark(step)
    const answered = await post(body)
    await scene.report(step, answered)
    return answered.answer?.result
}
let id = 1000
const ask = (step, method, params) => exchange(step, { jsonrpc: "2.0", id: id++, method, params })
const send = (step, op, entryPoint = entryPoint07Address) => ask(step, "eth_sendUserOperation", [op, entryPoint])

async function mined(step, hash) {
    if (!hash) return scene.report(step, { answer: "nothing was sent" })
    for (let attempt = 0; attempt < 100 && !(await rpc(rig.bundler, "eth_getUserOperationReceipt", [hash])); attempt++) await sleep(100)
    await ask(step, "eth_getUserOperationReceipt", [hash])
}

// The account, with five sessions on it.
const install = encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [1n, SMART_SESSIONS.address, "0x"] })
await scene.attempt("install", () => owner.sendUserOperation({ calls: [{ to: sender, value: 0n, data: install }] }), owner)
const now = Number((await publicClient.getBlock()).timestamp)
const makeSession = (salt, userOpPolicies) => ({
    sessionValidator: OWNABLE_VALIDATOR,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [keys.session.address] }),
    salt: pad(toHex(salt)),
    userOpPolicies,
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: ["increment()", "fail()"].map((signature) => ({
        actionTarget: COUNTER, actionTargetSelector: toFunctionSelector(signature), actionPolicies: [sdk.getSudoPolicy()]
    })),
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
})
const validity = (validAfter, validUntil) => [sdk.getTimeFramePolicy({ validAfter, validUntil })]
const open = makeSession(11n, [])
const single = makeSession(12n, [sdk.getUsageLimitPolicy({ limit: 1n })])
const expired = makeSession(13n, validity(0, now - 10))
const future = makeSession(14n, validity(now + 86400, now + 90000))
const current = makeSession(15n, validity(0, now + 600))
const { to, data } = sdk.getEnableSessionsAction({ sessions: [open, single, expired, future, current] })
await scene.attempt("grant", () => owner.sendUserOperation({ calls: [{ to, data, value: 0n }] }), owner)

// One USE operation; `change` is laid over the fields before it is signed.
let nextLane = 0
async function build(session, { lane = nextLane++, calls = [counter("increment")], ...change } = {}) {
    const key = BigInt(concat([toHex(lane, { size: 3 }), "0x00", SMART_SESSIONS.address]))
    const nonce = await getAccountNonce(publicClient, { address: sender, entryPointAddress: entryPoint07Address, key })
    const op = { sender, nonce, callData: await account.encodeCalls(calls), ...LIMITS, ...change, signature: "0x" }
    const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
    op.signature = sdk.encodeSmartSessionSignature({
        mode: sdk.SmartSessionMode.USE, permissionId: sdk.getPermissionId({ session }), signature: await keys.session.sign({ hash })
    })
    return formatUserOperationRequest(op)
}
const nonceOf = (lane, sequence) => BigInt(concat([toHex(lane, { size: 3 }), "0x00", SMART_SESSIONS.address, toHex(sequence, { size: 8 })]))

// Requests.
await ask("unknown-method", "eth_fooBar", [])
await ask("rundler-fee-method", "rundler_maxPriorityFeePerGas", [])
await ask("node-method", "eth_blockNumber", [])
await ask("debug-method", "debug_bundler_dumpMempool", [entryPoint07Address])
await ask("gas-price", "pimlico_getUserOperationGasPrice", [])
await ask("chain-id", "eth_chainId", [])
await ask("entry-points", "eth_supportedEntryPoints", [])
await ask("no-params", "eth_sendUserOperation", [])
await ask("params-object", "eth_sendUserOperation", { a: 1 })
const good = await build(open)
await send("wrong-entry-point", good, "0x5FF137D4b0FDCD49DcA30c7CF57E578a026d2789")
await send("missing-field", { ...good, nonce: undefined })
await send("bad-hex", { ...good, callData: "0xzz" })
await send("number-for-quantity", { ...good, nonce: 5 })
await send("extra-field", { ...good, colour: "red" })
await exchange("id-string", { jsonrpc: "2.0", id: "abc", method: "eth_chainId", params: [] })
await exchange("id-null", { jsonrpc: "2.0", id: null, method: "eth_chainId", params: [] })
await exchange("no-params-key", { jsonrpc: "2.0", id: 1, method: "eth_chainId" })
await exchange("no-version", { id: 1, method: "eth_chainId", params: [] })
await exchange("batch", [
    { jsonrpc: "2.0", id: 1, method: "eth_chainId", params: [] },
    { jsonrpc: "2.0", id: 2, method: "eth_supportedEntryPoints", params: [] }
])
await exchange("submit-notification", { jsonrpc: "2.0", method: "eth_sendUserOperation", params: [good, entryPoint07Address] })

// Operations.
await send("nonce-too-high", await build(open, { nonce: nonceOf(900, 5) }))
const used = await send("good", await build(open, { lane: 500 }))
await mined("good-receipt", used)
await ask("by-hash", "eth_getUserOperationByHash", [used])
await ask("status", "pimlico_getUserOperationStatus", [used])
await ask("by-hash-unknown", "eth_getUserOperationByHash", [pad("0x01")])
await ask("receipt-unknown", "eth_getUserOperationReceipt", [pad("0x01")])
await ask("receipt-bad-hash", "eth_getUserOperationReceipt", ["0x1234"])
await send("nonce-used", await build(open, { nonce: nonceOf(500, 0) }))
await send("verification-gas-too-low", await build(open, { verificationGasLimit: 60000n }))
await send("verification-gas-tiny", await build(open, { verificationGasLimit: 5000n }))
await send("gas-over-bundler-limit", await build(open, { callGasLimit: 30_000_000n }))
await send("paymaster-not-permitted", await build(open, { paymaster: COUNTER, paymasterVerificationGasLimit: 50000n, paymasterPostOpGasLimit: 1n, paymasterData: "0x" }))
await send("other-sender", { ...(await build(open)), sender: "0x00000000000000000000000000000000000000aa" })
await send("changed-after-signing", { ...(await build(open)), callGasLimit: "0x30d41" })
await send("short-signature", { ...(await build(open)), signature: "0x00" })
await send("empty-signature", { ...(await build(open)), signature: "0x" })
const envelope = (await build(open)).signature
await send("unknown-mode", { ...(await build(open)), signature: `0x03${envelope.slice(4)}` })
const word = (n) => toHex(n, { size: 32 })
const mode = (callType) => pad(callType, { dir: "right", size: 32 })
const delegatecall = concat(["0xe9ae5c53", mode("0xff"), word(0x40), word(0x14), pad(COUNTER, { dir: "right", size: 32 })])
await send("delegatecall", await build(open, { callData: delegatecall }))
const execute = await account.encodeCalls([counter("increment")])
await send("try-execution", await build(open, { callData: execute.replace("e9ae5c530000", "e9ae5c530001") }))
await send("execute-user-op", await build(open, { callData: concat(["0x8dd7712f", execute]) }))
await send("empty-batch", await build(open, { callData: concat(["0xe9ae5c53", mode("0x01"), word(0x40), word(0x40), word(0x20), word(0)]) }))
const installExecutor = encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [2n, COUNTER, "0x"] })
await send("account-function", await build(open, { callData: installExecutor }))
await send("expired-session", await build(expired))
await send("future-session", await build(future))
await mined("current-session-receipt", await send("current-session", await build(current)))
await mined("inner-revert-receipt", await send("inner-revert", await build(open, { calls: [counter("fail")] })))
await mined("usage-1st-receipt", await send("usage-1st", await build(single)))
await send("usage-2nd", await build(single))

// The same operation twice and others on its nonce, while the first one waits in the mempool.
await rpc(rig.node, "evm_setAutomine", [false])
const waiting = await build(open, { lane: 700 })
await send("waiting", waiting)
await send("waiting-again", waiting)
await send("same-nonce-other-op", await build(open, { lane: 700, callGasLimit: 200001n }))
await send("same-nonce-higher-fee", await build(open, { lane: 700, maxFeePerGas: 6_000_000_000n, maxPriorityFeePerGas: 2_000_000_000n }))
await rpc(rig.node, "evm_setAutomine", [true])
await rpc(rig.node, "evm_mine")
await sleep(1500)
await setBalance(1000n)
await send("no-funds", await build(open, { callGasLimit: 9_000_000n }))
await setBalance(parseEther("10"))
// Last: the bundler takes these and never mines some of them.
await send("pre-verification-gas-low", await build(open, { preVerificationGas: 1000n }))
await send("fee-zero", await build(open, { maxFeePerGas: 0n, maxPriorityFeePerGas: 0n }))
await send("fee-below-base", await build(open, { maxFeePerGas: 1n, maxPriorityFeePerGas: 1n }))
await send("priority-above-max", await build(open, { maxFeePerGas: 1_000_000_000n, maxPriorityFeePerGas: 2_000_000_000n }))
scene.finish()
