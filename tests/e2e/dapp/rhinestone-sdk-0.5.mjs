// One-click trading with @rhinestone/sdk 0.5, whose sessions are those of Smart Sessions and sign user operations:
// a session of 100 USDC pays 10 USDC again and again, until somebody says no.
//   node dapp/rhinestone-sdk-0.5.mjs GATE_URL
// The SDK has one bundler, by a URL of its own: what goes there is handed to the gate. The chain is answered here.
import { register } from "node:module"
import { encodeFunctionData, parseAbi } from "viem"
import { privateKeyToAccount } from "viem/accounts"
import { mainnet } from "viem/chains"

// It is written for bundlers of scripts, which find folders and files without their endings.
const found = `export async function resolve(name, context, next) {
    for (const ending of ["", "/index.js", ".js"]) {
        try { return await next(name + ending, context) } catch (error) { if (ending === ".js") throw error }
    }
}`
register(`data:text/javascript,${encodeURIComponent(found)}`)
const { createRhinestoneAccount } = await import("rhinestone-sdk-0.5")

const [gate] = process.argv.slice(2)
const USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
const BUNDLER = `https://api.pimlico.io/v2/${mainnet.id}/rpc?apikey=none`
const word = (value) => `0x${BigInt(value).toString(16).padStart(64, "0")}`
const sent = []
const network = globalThis.fetch
let nonce = 0

const VIEWS = {
    "0x3644e515": () => word(7), // DOMAIN_SEPARATOR()
    "0xadbc532f": () => word(sent.length === 0 ? 0 : 1), // isPermissionEnabled: from the owner's operation on
    "0x35567e1a": (data) => `0x${data.slice(-48)}${(nonce++).toString(16).padStart(16, "0")}` // getNonce(sender, key)
}
const CHAIN = {
    eth_chainId: () => `0x${mainnet.id.toString(16)}`,
    eth_getCode: () => "0x01",
    eth_getBlockByNumber: () => ({ number: "0x1", timestamp: "0x1", baseFeePerGas: "0x1", transactions: [] }),
    eth_maxPriorityFeePerGas: () => "0x1",
    eth_call: ([call]) => VIEWS[call.data.slice(0, 10)](call.data)
}

globalThis.fetch = async (input, init) => {
    const request = new Request(input, init)
    const { method, id, params } = JSON.parse(await request.clone().text())
    if (request.url !== BUNDLER) {
        return Response.json({ jsonrpc: "2.0", id, result: CHAIN[method](params) })
    }
    const response = await network(gate, { method: "POST", headers: request.headers, body: await request.text() })
    if (method === "eth_sendUserOperation") sent.push(await response.clone().json())
    return response
}

const account = await createRhinestoneAccount({
    owners: { type: "ecdsa", accounts: [privateKeyToAccount(`0x${"11".repeat(32)}`)] },
    rhinestoneApiKey: "none",
    bundler: { type: "pimlico", apiKey: "none" },
    sessions: []
})
const session = {
    owners: { type: "ecdsa", accounts: [privateKeyToAccount(`0x${"22".repeat(32)}`)] },
    actions: [
        {
            target: USDC,
            selector: "0xa9059cbb",
            policies: [{ type: "spending-limits", limits: [{ token: USDC, amount: 100_000_000n }] }]
        }
    ]
}
const data = encodeFunctionData({
    abi: parseAbi(["function transfer(address to, uint256 amount)"]),
    args: ["0x000000000000000000000000000000000000dEaD", 10_000_000n]
})
let problem = null
for (let made = 0; made < 11 && problem === null; made++) {
    try {
        const trade = await account.sendTransaction({
            chain: mainnet,
            calls: [{ to: USDC, value: 0n, data }],
            tokenRequests: [],
            signers: { type: "session", session }
        })
        await account.waitForExecution(trade)
    } catch (error) {
        problem = String(error.message)
    }
}
console.log(JSON.stringify({ sent, problem }))
process.exit(0)
