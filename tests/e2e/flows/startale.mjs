// The Startale SDK, unmodified, as its guides use it: account made and Smart Sessions installed, permission
// granted, used, overstepped, enabled by an off-chain signature, sponsored, revoked.
import { getAccount } from "@rhinestone/module-sdk"
import {
    createSmartAccountClient,
    getEnableSessionDetails,
    getSmartSessionsValidator,
    smartSessionCreateActions,
    smartSessionUseActions,
    SmartSessionMode,
    toOwnableModule,
    toSmartSessionsValidator,
    toStartaleSmartAccount
} from "@startale-scs/aa-sdk"
import { pad, toFunctionSelector, toHex } from "viem"
import { COUNTER, PAYMASTER, TOKEN } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { counter, token, keys, chain, transport, publicClient, GAS } = scene
const LESS_OR_EQUAL = 4

// The SDK's default validator lives inside Startale's own account; a Nexus account has the ownable module.
const validators = [toOwnableModule({ signer: keys.owner, threshold: 1, owners: [keys.owner.address] })]
const openAccount = (accountAddress) =>
    toStartaleSmartAccount({ signer: keys.owner, chain, transport, index: scene.accountIndex, validators, accountAddress })
const clientFor = (account, paymaster) =>
    createSmartAccountClient({ account, chain, transport: scene.bundlerTransport, client: publicClient, pollingInterval: 200, paymaster })

const account = await openAccount()
const owner = clientFor(account)
const grantor = owner.extend(smartSessionCreateActions())
await scene.fund(account.address)

const incrementOnly = [{ contractAddress: COUNTER, functionSelector: toFunctionSelector("increment()"), sudo: true }]
const addUpTo100 = { condition: LESS_OR_EQUAL, offsetIndex: 0, isLimited: false, ref: 100n, usage: { limit: 0n, used: 0n } }
const actionPoliciesInfo = [
    ...incrementOnly,
    { contractAddress: COUNTER, functionSelector: toFunctionSelector("add(uint256)"), rules: [addUpTo100] },
    { contractAddress: TOKEN, functionSelector: toFunctionSelector("transfer(address,uint256)"), tokenLimits: [{ token: TOKEN, limit: 1000n }] }
]

// A client that holds a session key and nothing else. Its own account object: a module belongs to one.
async function sessionClient(signer, moduleData, paymaster) {
    const held = await openAccount(account.address)
    const module = toSmartSessionsValidator({ account: held, signer, moduleData })
    return clientFor(held, paymaster).extend(smartSessionUseActions(module))
}
const use = (step, session, calls, gas) => scene.attempt(step, () => session.usePermission({ calls, ...gas }), owner)
const grant = (by, signer, actions) =>
    by.grantPermission({ sessionRequestedInfo: [{ sessionPublicKey: signer.address, actionPoliciesInfo: actions }] })

await scene.attempt("install", () => owner.installModule({ module: getSmartSessionsValidator({ useRegistry: false }) }), owner)

let permissionId
await scene.attempt("grant", async () => {
    const granted = await grant(grantor, keys.session, actionPoliciesInfo)
    permissionId = granted.permissionIds[0]
    return granted.userOpHash
}, owner)

const byPermission = (id) => ({ permissionIds: [id], mode: SmartSessionMode.USE })
const session = await sessionClient(keys.session, byPermission(permissionId))
await use("use-single", session, [counter("increment")])
await use("use-single-with-rule", session, [counter("add", [7n])])
await use("use-batch", session, [counter("increment"), counter("add", [5n]), token("transfer", [keys.owner.address, 400n])])
await use("outside-selector.estimate", session, [counter("fail")])
await use("outside-selector.send", session, [counter("fail")], GAS)
await use("outside-target.send", session, [{ to: keys.owner.address, value: 1n, data: "0x" }], GAS)
await use("rule-violated.estimate", session, [counter("add", [1000n])])
await use("rule-violated.send", session, [counter("add", [1000n])], GAS)
await use("value-over-limit.send", session, [counter("add", [5n], 1n)], GAS)
await use("spending-limit-exceeded.send", session, [token("transfer", [keys.owner.address, 601n])], GAS)
const executeSelector = "0xe9ae5c53"
await use("self-call.send", session, [{ to: account.address, value: 0n, data: pad(executeSelector, { dir: "right", size: 36 }) }], GAS)
await use("batch-one-bad.send", session, [counter("increment"), counter("fail")], GAS)

const stranger = await sessionClient(keys.stranger, byPermission(permissionId))
await use("wrong-session-key", stranger, [counter("increment")])
await use("wrong-session-key.send", stranger, [counter("increment")], GAS)
const imagined = await sessionClient(keys.session, byPermission(pad(toHex(0xabab), { size: 32 })))
await use("unknown-permission.send", imagined, [counter("increment")], GAS)

// Enable mode: the owner signs the session off chain, the session's first operation carries that signature.
const prepared = await grantor.preparePermission({
    sessionRequestedInfo: [{ sessionPublicKey: keys.enable.address, actionPoliciesInfo: incrementOnly }]
})
const details = await getEnableSessionDetails({
    enableMode: SmartSessionMode.UNSAFE_ENABLE,
    ignoreSecurityAttestations: true,
    sessions: prepared.sessions,
    account: getAccount({ address: account.address, type: "nexus" }),
    clients: [publicClient],
    enableValidatorAddress: account.getModule().module
})
// the SDK's ownable module is the release that takes the bare digest
details.enableSessionData.enableSession.permissionEnableSig = await keys.owner.sign({ hash: details.permissionEnableHash })
const { permissionId: enabledId, enableSessionData } = details
const enabling = await sessionClient(keys.enable, { permissionIds: [enabledId], mode: SmartSessionMode.UNSAFE_ENABLE, enableSessionData })
await use("enable-mode-first-op", enabling, [counter("increment")])
await use("use-after-enable-mode", await sessionClient(keys.enable, byPermission(enabledId)), [counter("increment")])
await use("enable-mode-replayed.send", enabling, [counter("increment")], GAS)

// The SDK permits a paymaster in a session when the granting client has one.
const stub = { paymaster: PAYMASTER, paymasterData: "0x" }
const paymaster = {
    getPaymasterStubData: async () => ({ ...stub, paymasterVerificationGasLimit: 60000n, paymasterPostOpGasLimit: 1n }),
    getPaymasterData: async () => stub
}
const sponsoredGrantor = clientFor(await openAccount(account.address), paymaster).extend(smartSessionCreateActions())
let sponsoredId
await scene.attempt("grant-paymaster", async () => {
    const granted = await grant(sponsoredGrantor, keys.session, incrementOnly)
    sponsoredId = granted.permissionIds[0]
    return granted.userOpHash
}, owner)
await use("use-with-paymaster", await sessionClient(keys.session, byPermission(sponsoredId), paymaster), [counter("increment")])
await use("paymaster-not-permitted.estimate", await sessionClient(keys.session, byPermission(permissionId), paymaster), [counter("increment")])

await scene.attempt("revoke", async () => (await grantor.revokeSession({ permissionId })).userOpHash, owner)
await use("revoked.estimate", session, [counter("increment")])
await use("revoked.send", session, [counter("increment")], GAS)
scene.finish()
