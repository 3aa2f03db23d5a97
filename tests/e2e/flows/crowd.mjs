// Many session operations in the same moment, each on a nonce lane of its own, under a spending limit that fits a few.
//   CROWD  how many operations   FITS  how many of them the limit allows
import { encodeFunctionData, parseAbi } from "viem"
import { TOKEN } from "../rig/addresses.mjs"
import { rpc } from "../rig/rpc.mjs"
import * as scene from "./scene.mjs"
import { account, ask, bundler, open, send, transfer } from "./spender.mjs"

const { keys, rig } = scene
const [CROWD, FITS] = process.argv.slice(2).map(Number)
const AMOUNT = 25n

const permissionId = await open({ salt: "0x40", limit: AMOUNT * BigInt(FITS) })
const operations = await Promise.all(Array.from({ length: CROWD }, (_, index) => transfer(permissionId, { lane: index + 1, amount: AMOUNT })))
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
