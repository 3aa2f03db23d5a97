// Where @rhinestone/sdk sends what a dapp asks of it: every request's host and method, in order, for one way of sending.
//   node dapp/rhinestone-sdk.mjs sendTransaction|sendUserOperation owner|session GATE_URL
// The chain is answered here, and the orchestrator by nobody. It ends when the gate has answered a send, or the SDK gives up.
import { createRequire } from "node:module"

const require = createRequire(import.meta.url)
const { RhinestoneSDK } = require("@rhinestone/sdk")
const { privateKeyToAccount } = require("viem/accounts")
const { base } = require("viem/chains")

const [how, who, gate] = process.argv.slice(2)
const NODE = "http://node.invalid/"
const CHAIN = {
    eth_getCode: who === "session" ? "0x00" : "0x", // an account that is not there is born first, by its owner
    eth_call: `0x${"00".repeat(31)}${who === "session" ? "01" : "00"}`, // whether it is enabled
    eth_getBlockByNumber: { number: "0x1", timestamp: "0x1", baseFeePerGas: "0x1", transactions: [] },
    eth_maxPriorityFeePerGas: "0x1"
}
const asked = []
const network = globalThis.fetch

function end(problem) {
    console.log(JSON.stringify({ asked, problem }))
    process.exit(0)
}

globalThis.fetch = async (input, init) => {
    const request = new Request(input, init)
    const text = await request.clone().text()
    const { method, id } = text.startsWith("{") ? JSON.parse(text) : {}
    const to = request.url === NODE ? "node" : request.url === gate ? "gate" : new URL(request.url).host
    asked.push([to, method ?? null])
    if (to === "node") return Response.json({ jsonrpc: "2.0", id, result: CHAIN[method] ?? null })
    if (to !== "gate") throw new TypeError("nobody is there")
    const response = await network(request)
    if (method === "eth_sendUserOperation") end((await response.json()).error ?? null)
    return response
}

const owner = privateKeyToAccount(`0x${"11".repeat(32)}`)
const sdk = new RhinestoneSDK({
    apiKey: "none",
    provider: { type: "custom", urls: { [base.id]: NODE } },
    bundler: { type: "custom", url: gate }
})
const owners = { type: "ecdsa", accounts: [owner] }
const account = await sdk.createAccount({ owners, experimental_sessions: { enabled: who === "session" } })
const signers = who === "session" ? { type: "experimental_session", session: { owners, chain: base, actions: [] } } : undefined
try {
    await account[how]({ chain: base, calls: [{ to: owner.address, value: 0n, data: "0x" }], signers })
} catch (error) {
    end(String(error.message))
}
