// @aa-sdk/core with an account of the dapp's own, as Alchemy's guide for other bundlers has it: what bundlers are asked
// goes to the bundler's URL, the rest to the node. An owner grants, a session key acts, oversteps and repeats.
import { createSmartAccountClient, deepHexlify, getEntryPoint, resolveProperties, split, toSmartContractAccount } from "@aa-sdk/core"
import * as sdk from "@rhinestone/module-sdk"
import { concat, http, toHex } from "viem"
import { gateError } from "../../../dapps/gate-error.mjs"
import * as scene from "./scene.mjs"
import { account as nexus, install, sessionOf } from "./spender.mjs"

const { chain, keys, token, rig } = scene
const bundlerMethods = [
    "eth_sendUserOperation", "eth_estimateUserOperationGas", "eth_getUserOperationReceipt",
    "eth_getUserOperationByHash", "eth_supportedEntryPoints"
]
const ONE_URL = process.argv[2] === "one-url"
const transport = ONE_URL
    ? http(scene.bundlerUrl)
    : split({ overrides: [{ methods: bundlerMethods, transport: http(scene.bundlerUrl) }], fallback: http(rig.node) })
const entryPoint = getEntryPoint(chain, { version: "0.7.0", addressOverride: "0x0000000071727De22E5E9d8BAf0edAc6f37da032" })
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
await scene.fund(nexus.address)

const asCall = ({ target, data, value }) => ({ to: target, data, value: value ?? 0n })
const accountOf = async (who) => {
    const { factory, factoryData } = await nexus.getFactoryArgs().then((made) =>
        made.factory ? made : { factory: nexus.factory?.address, factoryData: nexus.factory?.data })
    return toSmartContractAccount({
        source: "nexus", transport, chain, entryPoint, accountAddress: nexus.address,
        getAccountInitCode: async () => concat([factory, factoryData]),
        encodeExecute: (tx) => nexus.encodeCalls([asCall(tx)]),
        encodeBatchExecute: (txs) => nexus.encodeCalls(txs.map(asCall)),
        signMessage: ({ message }) => nexus.signMessage({ message }),
        signTypedData: (data) => nexus.signTypedData(data),
        ...who
    })
}
// The SDK's own estimator takes alto's zero limits of a paymaster that is not there for half a paymaster, with a gate or without.
const gasEstimator = async (struct, { account, client, overrides }) => {
    const { address } = account.getEntryPoint()
    const found = overrides?.callGasLimit ? overrides : await client.estimateUserOperationGas(deepHexlify(await resolveProperties(struct)), address)
    const { callGasLimit, verificationGasLimit, preVerificationGas } = found
    return { ...struct, callGasLimit, verificationGasLimit, preVerificationGas }
}
const clientOf = (account) => createSmartAccountClient({ transport, chain, account, gasEstimator, opts: { txMaxRetries: 60, txRetryIntervalMs: 200, txRetryMultiplier: 1 } })

const owner = clientOf(await accountOf({
    getDummySignature: () => nexus.getStubSignature(),
    signUserOperationHash: (hash) => keys.owner.signMessage({ message: { raw: hash } }),
    getNonce: () => nexus.getNonce()
}))
let lane = 0
const session = (permissionId, key) => accountOf({
    getDummySignature: () => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature: sdk.getOwnableValidatorMockSignature({ threshold: 1 }) }),
    signUserOperationHash: async (hash) => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature: await key.sign({ hash }) }),
    // called for every operation: each has a lane of its own
    getNonce: async () => BigInt(concat([toHex(lane++, { size: 3 }), "0x00", SMART_SESSIONS.address])) << 64n
})
async function step(name, client, uo, overrides) {
    await scene.mark(name)
    let sent
    try {
        sent = await client.sendUserOperation({ uo, overrides })
    } catch (error) {
        return scene.report(name, { refused: scene.rpcErrorOf(error), said: gateError(error) })
    }
    await client.waitForUserOperationTransaction({ hash: sent.hash })
    const { success, nonce, actualGasUsed, logs } = await client.getUserOperationReceipt(sent.hash)
    await scene.report(name, { mined: { hash: sent.hash, success, nonce, gas: actualGasUsed, logs: logs.length } })
}
const as = ({ to, data, value }) => ({ target: to, data, value })

const details = sessionOf({ salt: "0xaa5d", limit: 1000n })
const permissionId = sdk.getPermissionId({ session: details })
await step("install", owner, as(install))
const { to, data } = sdk.getEnableSessionsAction({ sessions: [details] })
await step("grant", owner, as({ to, data, value: 0n }))
const holder = clientOf(await session(permissionId, keys.session))
const pay = (amount) => as(token("transfer", [keys.owner.address, amount]))
await step("use", holder, pay(400n))
await step("batch", holder, [pay(100n), pay(200n)])
await step("overstep", holder, pay(301n))
await step("overstep.send", holder, pay(301n), scene.GAS)
await step("stranger.send", clientOf(await session(permissionId, keys.stranger)), pay(1n), scene.GAS)
await step("rest", holder, pay(300n))
scene.finish()
