// Operations of one account, signed ahead and sent by nobody: whoever reads them hands them in and mines them himself.
// The report has each with its hash and as the entry point's call data. Sessions: "a" and "c" are granted first, "b" by
// an operation of its own; "c" is revoked by another.
import * as sdk from "@rhinestone/module-sdk"
import { encodeFunctionData, toHex } from "viem"
import { entryPoint07Abi, entryPoint07Address, getUserOperationHash, toPackedUserOperation } from "viem/account-abstraction"
import * as scene from "./scene.mjs"
import { account, FEES, hexed, install, sessionOf, transfer } from "./spender.mjs"

const LIMIT = 100n
const GAS = { ...scene.GAS, callGasLimit: 2_000_000n } // grants write much
const STUB = sdk.getOwnableValidatorMockSignature({ threshold: 1 })
const index = scene.accountIndex
const sessions = Object.fromEntries(["a", "b", "c"].map((name, at) => [name, sessionOf({ salt: toHex(0xa0 + at), limit: LIMIT })]))
const ids = Object.fromEntries(Object.entries(sessions).map(([name, session]) => [name, sdk.getPermissionId({ session })]))
const receivers = Object.fromEntries(["a", "b", "c"].map((name, at) => [name, toHex(0xee0000n + index * 16n + BigInt(at), { size: 20 })]))

await scene.fund(account.address)
const first = await account.getNonce()
async function byOwner(number, calls) {
    const op = {
        sender: account.address, nonce: first + BigInt(number), callData: await account.encodeCalls(calls),
        signature: STUB, ...FEES, ...GAS, ...(number === 0 ? await account.getFactoryArgs() : {})
    }
    return { ...op, signature: await account.signUserOperation(op) }
}
const call = ({ to, target, data, callData }) => ({ to: to ?? target, data: data ?? callData, value: 0n })
const operations = {
    install: await byOwner(0, [install]),
    grant: await byOwner(1, [call(sdk.getEnableSessionsAction({ sessions: [sessions.a, sessions.c] }))]),
    "grant-b": await byOwner(2, [call(sdk.getEnableSessionsAction({ sessions: [sessions.b] }))]),
    "revoke-c": await byOwner(3, [call(sdk.getRemoveSessionAction({ permissionId: ids.c }))])
}
// "a-1-40": the session, the nonce lane, the amount
for (const name of process.argv.slice(2)) {
    const [session, lane, amount] = name.split("-")
    operations[name] = await transfer(ids[session], { lane: Number(lane), amount: BigInt(amount), to: receivers[session] })
}
const told = Object.entries(operations).map(([name, op]) => [name, {
    op: hexed(op),
    hash: getUserOperationHash({ chainId: scene.chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op }),
    callData: encodeFunctionData({ abi: entryPoint07Abi, functionName: "handleOps", args: [[toPackedUserOperation(op)], scene.keys.stranger.address] })
}])
await scene.report("prepared", { account: account.address, sessions: ids, receivers, operations: Object.fromEntries(told) })
scene.finish()
