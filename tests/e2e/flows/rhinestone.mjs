// @rhinestone/module-sdk with permissionless's accounts, built as Rhinestone's guides do: prepare with the
// session's nonce, sign the hash, encode the session signature, send.
//   node flows/rhinestone.mjs nexus|safe
import * as sdk from "@rhinestone/module-sdk"
import { createSmartAccountClient } from "permissionless"
import { toNexusSmartAccount, toSafeSmartAccount } from "permissionless/accounts"
import { getAccountNonce } from "permissionless/actions"
import { erc7579Actions } from "permissionless/actions/erc7579"
import { createPimlicoClient } from "permissionless/clients/pimlico"
import { concat, hexToNumber, pad, slice, toFunctionSelector, toHex } from "viem"
import { entryPoint07Address, getUserOperationHash } from "viem/account-abstraction"
import { COUNTER, OWNABLE_VALIDATOR, TOKEN } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const kind = process.argv[2]
const { counter, token, keys, chain, publicClient, rig, GAS } = scene
const Condition = { EQUAL: 0, LESS_THAN_OR_EQUAL: 4 } // module-sdk does not export its ParamCondition
const entryPoint = { address: entryPoint07Address, version: "0.7" }
const pimlico = createPimlicoClient({ transport: scene.bundlerTransport, entryPoint })
const ownable = sdk.getOwnableValidator({ threshold: 1, owners: [keys.owner.address] })
const smartSessions = sdk.getSmartSessionsValidator({ useRegistry: false })

const openAccount = {
    nexus: () =>
        toNexusSmartAccount({
            client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
            factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
        }),
    safe: () =>
        toSafeSmartAccount({
            client: publicClient, owners: [keys.owner], version: "1.4.1", saltNonce: scene.accountIndex, entryPoint,
            safe4337ModuleAddress: rig.deployed.safe7579, erc7579LaunchpadAddress: rig.deployed.safeLaunchpad,
            safeSingletonAddress: rig.deployed.safeSingleton, safeProxyFactoryAddress: rig.deployed.safeProxyFactory,
            attesters: [], attestersThreshold: 0, validators: [{ address: ownable.address, context: ownable.initData }]
        })
}
const account = await openAccount[kind]()
const sender = account.address
await scene.fund(sender)
const client = createSmartAccountClient({
    account, chain, client: publicClient, pollingInterval: 200, bundlerTransport: scene.bundlerTransport,
    userOperation: { estimateFeesPerGas: async () => (await pimlico.getUserOperationGasPrice()).fast }
}).extend(erc7579Actions())

// Where the validator stands in the nonce key: Nexus wants lane (3 bytes), mode, validator; Safe7579 validator, lane.
let lane = 0
const nonceKey = {
    nexus: () => concat([toHex(lane++, { size: 3 }), "0x00", smartSessions.address]),
    safe: () => concat([smartSessions.address, toHex(lane++, { size: 4 })])
}
const nonceAt = (key) => getAccountNonce(publicClient, { address: sender, entryPointAddress: entryPoint07Address, key: BigInt(key) })

// What a session key signs, and an owner of a grant, hangs on the release of the validator: this one takes the bare hash,
// or what a wallet signs as a message once 4 is added to v. The guides' signMessage alone is another release's.
const bare = (signer, hash) => signer.sign({ hash })
const message = (signer, hash) => signer.signMessage({ message: { raw: hash } })
const messagePlus4 = async (signer, hash) => {
    const signed = await message(signer, hash)
    return concat([slice(signed, 0, 64), toHex(hexToNumber(slice(signed, 64)) + 4)])
}

async function signedOp(details, signer, calls, gas, { key = nonceKey[kind](), sign = bare } = {}) {
    const stub = sdk.encodeSmartSessionSignature({ ...details, signature: sdk.getOwnableValidatorMockSignature({ threshold: 1 }) })
    const op = await client.prepareUserOperation({ account, calls, nonce: await nonceAt(key), signature: stub, ...gas })
    const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
    const signature = await sign(signer, hash)
    return { ...op, signature: sdk.encodeSmartSessionSignature({ ...details, signature }) }
}
const use = (step, details, signer, calls, gas, how) =>
    scene.attempt(step, async () => client.sendUserOperation(await signedOp(details, signer, calls, gas, how)), client)
const byOwner = (step, { to, data }) =>
    scene.attempt(step, () => client.sendUserOperation({ calls: [{ to, data, value: 0n }] }), client)

const now = Number((await publicClient.getBlock()).timestamp)
const rule = (condition, max) => ({ condition, offset: 0n, isLimited: false, ref: pad(toHex(max)), usage: { limit: 0n, used: 0n } })
const atMost100 = sdk.getUniversalActionPolicy({
    valueLimitPerUse: 0n,
    paramRules: { length: 1n, rules: [rule(Condition.LESS_THAN_OR_EQUAL, 100n), ...Array(15).fill(rule(Condition.EQUAL, 0n))] }
})
const action = (actionTarget, signature, actionPolicies) => ({ actionTarget, actionTargetSelector: toFunctionSelector(signature), actionPolicies })
const makeSession = (signer, salt) => ({
    sessionValidator: ownable.address,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [signer.address] }),
    salt: pad(toHex(salt)),
    userOpPolicies: [sdk.getTimeFramePolicy({ validAfter: 0, validUntil: now + 86400 }), sdk.getUsageLimitPolicy({ limit: 50n })],
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: [
        action(COUNTER, "increment()", [sdk.getSudoPolicy(), sdk.getValueLimitPolicy({ limit: 10n })]),
        action(COUNTER, "add(uint256)", [atMost100]),
        action(TOKEN, "transfer(address,uint256)", [sdk.getSpendingLimitsPolicy([{ token: TOKEN, limit: 1000n }])]),
        action(TOKEN, "approve(address,uint256)", [sdk.getSpendingLimitsPolicy([{ token: TOKEN, limit: 500n }])])
    ],
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
})

await scene.attempt("install", () => client.installModule(smartSessions), client)
const session = makeSession(keys.session, 1n)
const permissionId = sdk.getPermissionId({ session })
await byOwner("grant", sdk.getEnableSessionsAction({ sessions: [session] }))

const granted = { mode: sdk.SmartSessionMode.USE, permissionId }
const mine = (step, calls, gas) => use(step, granted, keys.session, calls, gas)
await mine("use-single", [counter("increment")])
await mine("use-batch", [counter("increment"), counter("add", [9n]), token("transfer", [keys.owner.address, 300n])])
await mine("use-value", [counter("increment", [], 4n)])
await mine("outside-selector.estimate", [counter("fail")])
await mine("outside-selector.send", [counter("fail")], GAS)
await mine("outside-target.send", [{ to: keys.owner.address, value: 1n, data: "0x" }], GAS)
await mine("rule-violated.send", [counter("add", [101n])], GAS)
await mine("value-limit-exceeded.send", [counter("increment", [], 7n)], GAS)
await mine("spending-limit-exceeded.send", [token("transfer", [keys.owner.address, 701n])], GAS)
await mine("approve-exceeded.send", [token("approve", [keys.owner.address, 501n])], GAS)
const { to, data } = sdk.getRemoveSessionAction({ permissionId })
await mine("calls-smart-sessions.send", [{ to, data, value: 0n }], GAS)
await use("signed-as-message.send", granted, keys.session, [counter("increment")], GAS, { sign: message })
await use("wrong-session-key.send", granted, keys.stranger, [counter("increment")], GAS)
await use("unknown-permission.send", { ...granted, permissionId: pad("0xabcd") }, keys.session, [counter("increment")], GAS)
if (kind === "nexus") {
    // encodeValidatorNonce puts the validator first for every account but Kernel: not what Nexus reads
    const key = sdk.encodeValidatorNonce({ account: sdk.getAccount({ address: sender, type: kind }), validator: smartSessions })
    await use("validator-first-nonce.send", granted, keys.session, [counter("increment")], GAS, { key })
}

async function enableDetails(mode, signer, salt, owner, sign = bare) {
    const details = await sdk.getEnableSessionDetails({
        enableMode: mode, sessions: [makeSession(signer, salt)], account: sdk.getAccount({ address: sender, type: kind }), clients: [publicClient],
        enableValidatorAddress: ownable.address, ignoreSecurityAttestations: mode === sdk.SmartSessionMode.UNSAFE_ENABLE
    })
    details.enableSessionData.enableSession.permissionEnableSig = await sign(owner, details.permissionEnableHash)
    return details
}
for (const [name, mode, signer, salt, sign] of [
    ["enable", sdk.SmartSessionMode.ENABLE, keys.enable, 2n, bare],
    ["unsafe-enable", sdk.SmartSessionMode.UNSAFE_ENABLE, keys.stranger, 3n, messagePlus4]
]) {
    const details = await enableDetails(mode, signer, salt, keys.owner, sign)
    await use(`${name}-first-op`, details, signer, [counter("increment")])
    await use(`${name}-then-use`, { ...granted, permissionId: details.permissionId }, signer, [counter("increment")])
    await use(`${name}-replayed.send`, details, signer, [counter("increment")], GAS)
    const tampered = structuredClone(details)
    tampered.enableSessionData.enableSession.sessionToEnable.salt = pad(toHex(salt + 100n))
    await use(`${name}-tampered.send`, tampered, signer, [counter("increment")], GAS)
    const notByOwner = await enableDetails(mode, signer, salt + 50n, keys.stranger)
    await use(`${name}-not-owner.send`, notByOwner, signer, [counter("increment")], GAS)
    const asMessage = await enableDetails(mode, signer, salt + 70n, keys.owner, message)
    await use(`${name}-owner-signed-as-message.send`, asMessage, signer, [counter("increment")], GAS)
}

await byOwner("revoke", sdk.getRemoveSessionAction({ permissionId }))
await mine("revoked.estimate", [counter("increment")])
await mine("revoked.send", [counter("increment")], GAS)
scene.finish()
