// Hands operations in as SDKs do, each with its defaults, and tells what came of each.
//   node clients/send.mjs < [{"client", "url", "op", "entryPoint"}, …]   ->   [{"result"} | {"failed"}, …]
import fs from "node:fs"
import { createRequire } from "node:module"
import { createSmartAccountClient } from "@aa-sdk/core"
import { Bundler } from "abstractionkit"
import { ethers } from "ethers"
import { createPimlicoClient } from "permissionless/clients/pimlico"
import { createClient, custom, http } from "viem"
import { createBundlerClient } from "viem/account-abstraction"
import { mainnet } from "viem/chains"

const { BundlerJsonRpcProvider } = createRequire(import.meta.url)("userop")
const SEND = "eth_sendUserOperation"

// An EIP-1193 provider as wallets inject it: an error is an object with code and message.
const injected = (url) => ({
    async request({ method, params }) {
        const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })
        const reply = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })
        const { result, error } = await reply.json()
        if (error) throw error
        return result
    }
})

const ask = (client, { method = SEND, op, entryPoint }) => client.request({ method, params: [op, entryPoint] })
const numbers = new Set(["nonce", "callGasLimit", "verificationGasLimit", "preVerificationGas", "maxFeePerGas", "maxPriorityFeePerGas"])
const asNumbers = (op) =>
    Object.fromEntries(Object.entries(op).map(([key, value]) => [key, numbers.has(key) ? BigInt(value) : value]))

const send = {
    "viem http": (task) => ask(createBundlerClient({ transport: http(task.url) }), task),
    "viem custom": (task) => ask(createClient({ transport: custom(injected(task.url)) }), task),
    "aa-sdk": ({ url, op, entryPoint }) =>
        createSmartAccountClient({ transport: http(url), chain: mainnet }).sendRawUserOperation(op, entryPoint),
    permissionless: (task) => ask(createPimlicoClient({ transport: http(task.url) }), task),
    ethers: ({ url, method = SEND, op, entryPoint }) =>
        new ethers.JsonRpcProvider(url, 1946, { staticNetwork: true, batchMaxCount: 1 }).send(method, [op, entryPoint]),
    abstractionkit: ({ url, op, entryPoint }) =>
        new Bundler(url).sendUserOperation({ factory: null, factoryData: null, paymaster: null, paymasterData: null,
            paymasterVerificationGasLimit: null, paymasterPostOpGasLimit: null, ...asNumbers(op) }, entryPoint),
    "userop.js": ({ url, method = SEND, op, entryPoint }) => new BundlerJsonRpcProvider(url).setBundlerRpc(url).send(method, [op, entryPoint])
}

const tasks = JSON.parse(fs.readFileSync(0, "utf8"))
const told = await Promise.all(
    tasks.map(async (task) => {
        try {
            return { result: await send[task.client](task) }
        } catch (error) {
            return { failed: String(error?.message ?? error).slice(0, 400) }
        }
    })
)
console.log(JSON.stringify(told))
process.exit(0) // providers keep polling
