// Asks a paymaster as each SDK does, unmodified, at one URL, and prints what each made of the answer.
//   node dapp/paymasters.mjs URL CHAIN_ID OPERATION ENTRY_POINT
import { createBicoPaymasterClient } from "@biconomy/abstractjs"
import { createSCSPaymasterClient } from "@startale-scs/aa-sdk"
import { createZeroDevPaymasterClient } from "@zerodev/sdk"
import { CandidePaymaster } from "abstractionkit"
import { createPimlicoClient } from "permissionless/clients/pimlico"
import { Presets } from "userop"
import { defineChain, http } from "viem"
import { createPaymasterClient } from "viem/account-abstraction"

const [url, chainId, written, entryPointAddress] = process.argv.slice(2)
const chain = defineChain({ id: Number(chainId), name: "chain", nativeCurrency: { name: "coin", symbol: "C", decimals: 18 }, rpcUrls: { default: { http: [url] } } })
const transport = http(url, { retryCount: 0 })
const op = JSON.parse(written)
const quantities = ["nonce", "callGasLimit", "verificationGasLimit", "preVerificationGas", "maxFeePerGas", "maxPriorityFeePerGas"]
const operation = { ...op, ...Object.fromEntries(quantities.map((key) => [key, BigInt(op[key])])) }
const { callGasLimit, verificationGasLimit, preVerificationGas, ...unestimated } = operation
const named = { ...operation, entryPointAddress, chainId: chain.id, context: { policyId: "p" } }
const entryPoint = { address: entryPointAddress, version: "0.7" }

const asked = {
    "viem stub": () => createPaymasterClient({ transport }).getPaymasterStubData({ ...unestimated, entryPointAddress, chainId: chain.id }),
    "viem data": () => createPaymasterClient({ transport }).getPaymasterData(named),
    "permissionless sponsor": () =>
        createPimlicoClient({ transport, entryPoint }).sponsorUserOperation({ userOperation: operation, paymasterContext: { policyId: "p" } }),
    "permissionless policies": () =>
        createPimlicoClient({ transport, entryPoint }).validateSponsorshipPolicies({ userOperation: operation, entryPointAddress, sponsorshipPolicyIds: ["p"] }),
    "zerodev sponsor": () => createZeroDevPaymasterClient({ chain, transport }).sponsorUserOperation({ userOperation: named }),
    "startale quotes": () => createSCSPaymasterClient({ transport }).getTokenPaymasterQuotes({ userOp: operation, chainId: chain.id }),
    "biconomy quotes": () => createBicoPaymasterClient({ transport }).getTokenPaymasterQuotes({ userOp: operation, tokenList: [] }),
    "abstractionkit data": () =>
        new CandidePaymaster(url).createPaymasterUserOperation({ entrypointAddress: entryPointAddress }, { ...operation }, { token: null }),
    "userop.js sponsor": async () => {
        const context = { op: { ...op, verificationGasLimit: op.verificationGasLimit }, entryPoint: entryPointAddress }
        await Presets.Middleware.verifyingPaymaster(url, { type: "payg" })(context)
        return { paymasterData: context.op.paymasterAndData }
    }
}

const told = {}
for (const [name, ask] of Object.entries(asked)) {
    try {
        told[name] = { answer: await ask() }
    } catch (error) {
        told[name] = { error: String(error?.details ?? error?.cause?.message ?? error?.message ?? error).slice(0, 300) }
    }
}
console.log(JSON.stringify(told, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value)))
process.exit(0)
