// Sessions that end without the gate: granted and used through it, ended by owner operations sent past it.
import * as sdk from "@rhinestone/module-sdk"
import { toNexusSmartAccount } from "permissionless/accounts"
import { getAccountNonce } from "permissionless/actions"
import { concat, encodeFunctionData, http, pad, parseAbi, toFunctionSelector } from "viem"
import { createBundlerClient, entryPoint07Address, getUserOperationHash } from "viem/account-abstraction"
import { COUNTER, OWNABLE_VALIDATOR } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { counter, keys, chain, publicClient, rig, GAS } = scene
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }

const account = await toNexusSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
    factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
})
await scene.fund(account.address)
const clientOf = (transport) => createBundlerClient({ account, chain, client: publicClient, transport, pollingInterval: 200 })
const gate = clientOf(scene.bundlerTransport)
const elsewhere = clientOf(http(rig.bundler, { retryCount: 0 }))
const byOwner = (step, client, call) => scene.attempt(step, () => client.sendUserOperation({ calls: [{ value: 0n, ...call }], ...FEES }), client)

const sessionOf = (salt) => ({
    sessionValidator: OWNABLE_VALIDATOR,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [keys.session.address] }),
    salt: pad(salt),
    userOpPolicies: [],
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: [{ actionTarget: COUNTER, actionTargetSelector: toFunctionSelector("increment()"), actionPolicies: [sdk.getSudoPolicy()] }],
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
})
const sessions = ["0x31", "0x32"].map(sessionOf)
const [first, second] = sessions.map((session) => sdk.getPermissionId({ session }))

async function use(step, permissionId, gas = GAS) {
    const envelope = (signature) => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature })
    const send = async () => {
        const key = BigInt(concat(["0x00000000", SMART_SESSIONS.address]))
        const nonce = await getAccountNonce(publicClient, { address: account.address, entryPointAddress: entryPoint07Address, key })
        const stub = envelope(sdk.getOwnableValidatorMockSignature({ threshold: 1 }))
        const op = await gate.prepareUserOperation({ account, calls: [counter("increment")], nonce, signature: stub, ...FEES, ...gas })
        const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
        return gate.sendUserOperation({ ...op, signature: envelope(await keys.session.sign({ hash })) })
    }
    await scene.attempt(step, send, gate)
}

const install = encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [1n, SMART_SESSIONS.address, "0x"] })
await byOwner("install", gate, { to: account.address, data: install })
await byOwner("grant", gate, sdk.getEnableSessionsAction({ sessions }))
await use("first", first)
await use("second", second)
await byOwner("first-removed", elsewhere, sdk.getRemoveSessionAction({ permissionId: first }))
await use("first-after.send", first)
await use("too-little-gas.send", second, { ...GAS, verificationGasLimit: 30000n })
await use("second-still", second)
await byOwner("second-removed", elsewhere, sdk.getRemoveSessionAction({ permissionId: second }))
await use("second-after.send", second)
scene.finish()
