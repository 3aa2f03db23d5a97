// A Nexus account whose session key may send so much of the token and no more; operations on nonce lanes of their own.
import * as sdk from "@rhinestone/module-sdk"
import { toNexusSmartAccount } from "permissionless/accounts"
import { concat, encodeFunctionData, pad, parseAbi, toFunctionSelector, toHex } from "viem"
import { createBundlerClient, entryPoint07Address, getUserOperationHash } from "viem/account-abstraction"
import { OWNABLE_VALIDATOR, TOKEN } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { token, keys, chain, publicClient, rig, GAS } = scene
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
export const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }

export const account = await toNexusSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
    factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
})
export const bundler = createBundlerClient({ account, chain, client: publicClient, transport: scene.bundlerTransport, pollingInterval: 200 })

export const install = {
    to: account.address,
    value: 0n,
    data: encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [1n, SMART_SESSIONS.address, "0x"] })
}

// What the session may do.
export const sessionOf = ({ salt, limit }) => ({
    sessionValidator: OWNABLE_VALIDATOR,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [keys.session.address] }),
    salt: pad(salt),
    userOpPolicies: [],
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: [
        {
            actionTarget: TOKEN,
            actionTargetSelector: toFunctionSelector("transfer(address,uint256)"),
            actionPolicies: [sdk.getSpendingLimitsPolicy([{ token: TOKEN, limit }])]
        }
    ],
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
})

// Installs the module and grants the session: steps "install" and "grant".
export async function open({ salt, limit }) {
    await scene.fund(account.address)
    await scene.attempt("install", () => bundler.sendUserOperation({ calls: [install], ...FEES }), bundler)
    const session = sessionOf({ salt, limit })
    const permissionId = sdk.getPermissionId({ session })
    const { to, data } = sdk.getEnableSessionsAction({ sessions: [session] })
    await scene.attempt("grant", () => bundler.sendUserOperation({ calls: [{ to, data, value: 0n }], ...FEES }), bundler)
    return permissionId
}

// A transfer signed by the session key, ready for eth_sendUserOperation.
export async function transfer(permissionId, { lane, amount, to = keys.stranger.address }) {
    const envelope = (signature) => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature })
    const key = BigInt(concat([toHex(lane, { size: 3 }), "0x00", SMART_SESSIONS.address]))
    const callData = await account.encodeCalls([token("transfer", [to, amount])])
    const stub = envelope(sdk.getOwnableValidatorMockSignature({ threshold: 1 }))
    const op = { sender: account.address, nonce: key << 64n, callData, signature: stub, ...FEES, ...GAS }
    const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
    return { ...op, signature: envelope(await keys.session.sign({ hash })) }
}

export const hexed = (op) => JSON.parse(JSON.stringify(op, (_, value) => (typeof value === "bigint" ? toHex(value) : value)))

export const send = (op) => ask("eth_sendUserOperation", [hexed(op), entryPoint07Address])
export async function ask(method, params) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })
    const response = await fetch(scene.bundlerUrl, { method: "POST", headers: { "content-type": "application/json" }, body })
    return response.json()
}
