// What every flow has: the chain, the keys, the calls sessions make, and a report of how each step ended.
//   RIG      the rig's state file      BUNDLER_URL  where the SDK sends bundler calls
//   RUN      the run's name            ACCOUNT_INDEX  another index makes another account
//   REPORT   file the steps are written to
//   PAUSE_AFTER  comma-separated steps: after each, one line on stdin lets the flow go on
import fs from "node:fs"
import readline from "node:readline"
import { createPublicClient, defineChain, encodeFunctionData, http, numberToHex, parseAbi, parseEther } from "viem"
import { privateKeyToAccount } from "viem/accounts"
import { soneiumMinato } from "viem/chains"
import { COUNTER, KEYS, TOKEN } from "../rig/addresses.mjs"
import { rpc } from "../rig/rpc.mjs"

export const rig = JSON.parse(fs.readFileSync(process.env.RIG, "utf8"))
export const bundlerUrl = process.env.BUNDLER_URL
export const accountIndex = BigInt(process.env.ACCOUNT_INDEX ?? 0)

// The Startale SDK reads the base fee from the chain's own URL, not from the transport.
export const chain = defineChain({ ...soneiumMinato, rpcUrls: { default: { http: [rig.node] } } })
export const transport = http(rig.node)
export const bundlerTransport = http(bundlerUrl, { retryCount: 0 })
export const publicClient = createPublicClient({ chain, transport, pollingInterval: 100 })
export const keys = Object.fromEntries(Object.entries(KEYS).map(([name, key]) => [name, privateKeyToAccount(key)]))

// Enough for any operation here. An SDK that is given gas does not estimate first.
export const GAS = { callGasLimit: 300000n, verificationGasLimit: 1500000n, preVerificationGas: 100000n }

export const counterAbi = parseAbi([
    "function increment() payable",
    "function add(uint256) payable",
    "function fail()",
    "function total() view returns (uint256)"
])
export const tokenAbi = parseAbi([
    "function transfer(address,uint256) returns (bool)",
    "function approve(address,uint256) returns (bool)",
    "function mint(address,uint256)"
])
export const counter = (functionName, args = [], value = 0n) => ({
    to: COUNTER,
    value,
    data: encodeFunctionData({ abi: counterAbi, functionName, args })
})
export const token = (functionName, args) => ({
    to: TOKEN,
    value: 0n,
    data: encodeFunctionData({ abi: tokenAbi, functionName, args })
})

export async function fund(account) {
    await rpc(rig.node, "anvil_setBalance", [account, numberToHex(parseEther("10"))])
    const [from] = await rpc(rig.node, "eth_accounts")
    const { to, data } = token("mint", [account, 1_000_000n])
    await rpc(rig.node, "eth_sendTransaction", [{ from, to, data }])
}

export const mark = (step) =>
    fetch(`${rig.recorder}/mark`, { method: "POST", body: JSON.stringify({ run: process.env.RUN, step }) })

const steps = []
const pauses = new Set(process.env.PAUSE_AFTER?.split(",") ?? [])
const input = pauses.size > 0 ? readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]() : null

const toJson = (value) => JSON.stringify(value, (_, v) => (typeof v === "bigint" ? numberToHex(v) : v))

export async function report(step, ending) {
    steps.push({ step, ...ending })
    fs.writeFileSync(process.env.REPORT, toJson({ steps }))
    console.log(step, toJson(ending).slice(0, 300))
    if (!pauses.has(step)) return
    console.log(`paused after ${step}`)
    await input.next()
}

// One step: an operation that is sent and mined, or refused with the JSON-RPC error the dapp sees.
export async function attempt(step, send, client) {
    await mark(step)
    let hash
    try {
        hash = await send()
    } catch (error) {
        return report(step, { refused: rpcErrorOf(error) })
    }
    await report(step, { mined: await receiptOf(client, hash) })
}

export async function receiptOf(client, hash) {
    const receipt = await client.waitForUserOperationReceipt({ hash, timeout: 20_000 })
    const { success, nonce, reason, actualGasUsed } = receipt
    return { hash, success, nonce, gas: actualGasUsed, logs: receipt.logs.length, ...(reason ? { reason } : {}) }
}

// What the server said, out of the chain of causes viem and the SDKs wrap it in.
export function rpcErrorOf(error) {
    for (let cause = error; cause; cause = cause.cause) {
        if (cause.name === "RpcRequestError") return { code: cause.code, message: cause.details, data: cause.data }
    }
    throw error
}

export function finish() {
    process.exit(0) // clients keep polling timers alive
}
