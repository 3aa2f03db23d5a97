// The same transfer by a session key, again and again, while ops write a rule about it.
//   STEPS  names of the steps, each one transfer
import * as scene from "./scene.mjs"
import { bundler, open, send, transfer } from "./spender.mjs"

const permissionId = await open({ salt: "0x41", limit: 100_000n })
for (const [lane, step] of process.argv.slice(2).entries()) {
    const operation = await transfer(permissionId, { lane: lane + 1, amount: 30n, to: scene.keys.owner.address })
    await scene.mark(step)
    const { result, error } = await send(operation)
    if (error) await scene.report(step, { refused: error })
    else await scene.report(step, { mined: await scene.receiptOf(bundler, result) })
}
scene.finish()
