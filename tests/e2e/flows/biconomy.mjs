// Biconomy's SDK, unmodified, as its guides use it: account made and Smart Sessions installed, permissions signed off
// chain by the owner, enabled by their first use, used, overstepped, revoked. It asks its bundler for fees and for what
// became of an operation in its own vendor's words.
import {
    createBicoBundlerClient,
    getMEEVersion,
    MEEVersion,
    smartSessionActions,
    toNexusAccount,
    toSmartSessionsModule
} from "@biconomy/abstractjs"
import { getRemoveSessionAction, getSpendingLimitsPolicy, getSudoPolicy } from "@rhinestone/module-sdk"
import { toFunctionSelector } from "viem"
import { COUNTER, OWNABLE_VALIDATOR_BETA, TOKEN } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { counter, token, keys, chain, transport, GAS } = scene
const version = getMEEVersion(MEEVersion.V1_0_0) // of a bootstrap and account as the rig has them
const open = (signer, accountAddress) =>
    toNexusAccount({ signer, index: scene.accountIndex, chainConfiguration: { chain, transport, version, accountAddress } })
const clientOf = (account) =>
    createBicoBundlerClient({ account, chain, transport: scene.bundlerTransport, pollingInterval: 100 }).extend(smartSessionActions())

const account = await open(keys.owner)
const owner = clientOf(account)
await scene.fund(account.address)
await scene.attempt("install", () => owner.installModule({ module: toSmartSessionsModule({ signer: keys.owner }) }), owner)

const action = (actionTarget, signature, ...actionPolicies) => ({
    actionTarget,
    actionTargetSelector: toFunctionSelector(signature),
    actionPolicies
})
const actions = [
    action(COUNTER, "increment()", getSudoPolicy()),
    action(TOKEN, "transfer(address,uint256)", getSpendingLimitsPolicy([{ token: TOKEN, limit: 1000n }]))
]
const grant = (more) =>
    owner.grantPermissionPersonalSign([{ redeemer: keys.session.address, chainId: BigInt(chain.id), actions, ...more }])

// A client that holds a session key and nothing else.
const heldBy = async (signer) => clientOf(await open(signer, account.address))
const use = (step, client, sessionDetailsArray, calls, more) =>
    scene.attempt(step, () => client.usePermission({ sessionDetailsArray, calls, mode: "USE", ...more }), owner)
const first = { mode: "ENABLE_AND_USE" }

// The SDK's own choice of validator takes another form than the SDK signs in; one that takes it may be named.
const ofDefault = await grant({})
const session = await heldBy(keys.session)
await use("default-validator.send", session, ofDefault, [counter("increment")], { ...first, ...GAS })
const granted = await grant({ sessionValidator: OWNABLE_VALIDATOR_BETA })
await use("enable-and-use", session, granted, [counter("increment")], first)
await use("use-single", session, granted, [counter("increment")])
await use("use-batch", session, granted, [counter("increment"), token("transfer", [keys.owner.address, 400n])])
await use("outside-selector.estimate", session, granted, [counter("fail")])
await use("outside-selector.send", session, granted, [counter("fail")], GAS)
await use("outside-target.send", session, granted, [{ to: keys.owner.address, value: 1n, data: "0x" }], GAS)
await use("spending-limit-exceeded.send", session, granted, [token("transfer", [keys.owner.address, 601n])], GAS)
await use("wrong-session-key.send", await heldBy(keys.stranger), granted, [counter("increment")], GAS)
await use("enable-replayed.send", session, granted, [counter("increment")], { ...first, ...GAS })

const { target, callData } = getRemoveSessionAction({ permissionId: granted[0].permissionId })
await scene.attempt("revoke", () => owner.sendUserOperation({ calls: [{ to: target, value: 0n, data: callData }] }), owner)
await use("revoked.estimate", session, granted, [counter("increment")])
await use("revoked.send", session, granted, [counter("increment")], GAS)
scene.finish()
