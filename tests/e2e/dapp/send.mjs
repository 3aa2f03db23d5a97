// Sends one operation through a client library and prints what gateError makes of the answer.
//   node dapp/send.mjs viem|bundler-client|ethers|fetch|… URL OPERATION ENTRY_POINT
import { createRequire } from "node:module"
import { gateError } from "../../../dapps/gate-error.mjs"

const [library, url, operation, entryPoint] = process.argv.slice(2)
const params = [JSON.parse(operation), entryPoint]
const method = "eth_sendUserOperation"

const senders = {
    async viem() {
        const { createPublicClient, http } = await import("viem")
        return createPublicClient({ transport: http(url, { retryCount: 0 }) }).request({ method, params })
    },
    async "bundler-client"() {
        const { http } = await import("viem")
        const { createBundlerClient } = await import("viem/account-abstraction")
        return createBundlerClient({ transport: http(url, { retryCount: 0 }) }).request({ method, params })
    },
    async permissionless() {
        const { http } = await import("viem")
        const { createPimlicoClient } = await import("permissionless/clients/pimlico")
        return createPimlicoClient({ transport: http(url, { retryCount: 0 }) }).request({ method, params })
    },
    async ethers() {
        const { JsonRpcProvider } = await import("ethers")
        return new JsonRpcProvider(url, Number(process.env.CHAIN_ID), { staticNetwork: true }).send(method, params)
    },
    async "a wallet"() {
        const { createClient, custom } = await import("viem")
        return createClient({ transport: custom({ request: senders.fetch }, { retryCount: 0 }) }).request({ method, params })
    },
    async "userop.js"() {
        const { BundlerJsonRpcProvider } = createRequire(import.meta.url)("userop")
        return new BundlerJsonRpcProvider(url).setBundlerRpc(url).send(method, params)
    },
    async abstractionkit() {
        const { Bundler } = await import("abstractionkit")
        const absent = ["factory", "factoryData", "paymaster", "paymasterData", "paymasterVerificationGasLimit", "paymasterPostOpGasLimit"]
        const op = { ...Object.fromEntries(absent.map((key) => [key, null])), ...params[0] }
        return new Bundler(url).sendUserOperation(op, entryPoint)
    },
    async fetch() {
        const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })
        const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })
        const { result, error } = await response.json()
        if (error) throw error
        return result
    }
}

let told
try {
    told = { hash: await senders[library]() }
} catch (error) {
    told = { said: gateError(error) }
}
console.log(JSON.stringify(told))
process.exit(0)
