// Many session operations in the same moment, each on a nonce lane of its own, under a spending limit that fits a few.
//   CROWD  how many operations   FITS  how many of them the limit allows
import * as sdk from "@rhinestone/module-sdk"
import { toNexusSmartAccount } from "permissionless/accounts"
import { concat, encodeFunctionData, pad, parseAbi, toFunctionSelector, toHex } from "viem"
import { createBundlerClient, entryPoint07Address, getUserOperationHash } from "viem/account-abstraction"
import { OWNABLE_VALIDATOR, TOKEN } from "../rig/addresses.mjs"
import { rpc } from "../rig/rpc.mjs"
import * as scene from "./scene.mjs"

const { token, keys, chain, publicClient, rig, GAS } = scene
const [CROWD, FITS] = process.argv.slice(2).map(Number)
const AMOUNT = 25n
const SMART_SESSIONS = sdk.getSmartSessionsValidator({ useRegistry: false })
const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }

const account = await toNexusSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.0.0", index: scene.accountIndex,
    factoryAddress: rig.deployed.ownerFactory, validatorAddress: OWNABLE_VALIDATOR
})
await scene.fund(account.address)
const bundler = createBundlerClient({ account, chain, client: publicClient, transport: scene.bundlerTransport, pollingInterval: 200 })

const install = encodeFunctionData({ abi: parseAbi(["function installModule(uint256,address,bytes)"]), args: [1n, SMART_SESSIONS.address, "0x"] })
await scene.attempt("install", () => bundler.sendUserOperation({ calls: [{ to: account.address, value: 0n, data: install }], ...FEES }), bundler)

const session = {
    sessionValidator: OWNABLE_VALIDATOR,
    sessionValidatorInitData: sdk.encodeValidationData({ threshold: 1, owners: [keys.session.address] }),
    salt: pad("0x40"),
    userOpPolicies: [],
    erc7739Policies: { allowedERC7739Content: [], erc1271Policies: [] },
    actions: [
        {
            actionTarget: TOKEN,
            actionTargetSelector: toFunctionSelector("transfer(address,uint256)"),
            actionPolicies: [sdk.getSpendingLimitsPolicy([{ token: TOKEN, limit: AMOUNT * BigInt(FITS) }])]
        }
    ],
    chainId: BigInt(chain.id),
    permitERC4337Paymaster: false
}
const permissionId = sdk.getPermissionId({ session })
const { to, data } = sdk.getEnableSessionsAction({ sessions: [session] })
await scene.attempt("grant", () => bundler.sendUserOperation({ calls: [{ to, data, value: 0n }], ...FEES }), bundler)

const envelope = (signature) => sdk.encodeSmartSessionSignature({ mode: sdk.SmartSessionMode.USE, permissionId, signature })
const stub = envelope(sdk.getOwnableValidatorMockSignature({ threshold: 1 }))
const callData = await account.encodeCalls([token("transfer", [keys.stranger.address, AMOUNT])])

async function sign(lane) {
    const key = BigInt(concat([toHex(lane, { size: 3 }), "0x00", SMART_SESSIONS.address]))
    const op = { sender: account.address, nonce: key << 64n, callData, signature: stub, ...FEES, ...GAS }
    const hash = getUserOperationHash({ chainId: chain.id, entryPointAddress: entryPoint07Address, entryPointVersion: "0.7", userOperation: op })
    return { ...op, signature: envelope(await keys.session.signMessage({ message: { raw: hash } })) }
}

const hexed = (op) => JSON.parse(JSON.stringify(op, (_, value) => (typeof value === "bigint" ? toHex(value) : value)))
const send = (op) => ask("eth_sendUserOperation", [hexed(op), entryPoint07Address])
async function ask(method, params) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })
    const response = await fetch(scene.bundlerUrl, { method: "POST", headers: { "content-type": "application/json" }, body })
    return response.json()
}

const operations = await Promise.all(Array.from({ length: CROWD }, (_, index) => sign(index + 1)))
await scene.mark("crowd")
const answers = await Promise.all(operations.map(send))
const hashes = answers.filter((answer) => answer.result).map((answer) => answer.result)
const refused = answers.filter((answer) => answer.error).map(({ error }) => ({ code: error.code, message: error.message, wanted: error.data?.wanted, got: error.data?.got }))
await scene.report("crowd", { accepted: hashes.length, refused })

await scene.mark("receipts")
const receipts = []
for (const hash of hashes) receipts.push(await bundler.waitForUserOperationReceipt({ hash, timeout: 90_000 }))
const balance = await rpc(rig.node, "eth_call", [{ to: TOKEN, data: encodeFunctionData({ abi: parseAbi(["function balanceOf(address) view returns (uint256)"]), args: [keys.stranger.address] }) }, "latest"])
const { result, error } = await ask("sessiongate_getSession", [account.address, permissionId])
await scene.report("receipts", { session: result ?? error, succeeded: receipts.filter((receipt) => receipt.success).length, balance })
scene.finish()
