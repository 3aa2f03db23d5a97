// One-click trading as tutorials tell it: the owner grants 100 USDC once, the dapp pays 10 at a time without asking. Ten
// pass. The eleventh hears what is left, in words a dapp can show.
import { gateError } from "../../../dapps/gate-error.mjs"
import { rpc } from "../rig/rpc.mjs"
import * as scene from "./scene.mjs"
import { account, ask, bundler, open, send, transfer } from "./spender.mjs"

const USDC = 1_000_000n // six decimals, as the rule files list them
const [from] = await rpc(scene.rig.node, "eth_accounts")
const { to, data } = scene.token("mint", [account.address, 1_000n * USDC])
await rpc(scene.rig.node, "eth_sendTransaction", [{ from, to, data }])
const permissionId = await open({ salt: "0x7ade", limit: 100n * USDC })

async function pay(step, amount, lane) {
    const operation = await transfer(permissionId, { lane, amount, to: scene.keys.owner.address })
    await scene.mark(step)
    const { result, error } = await send(operation)
    if (error) await scene.report(step, { refused: error, said: gateError({ cause: error }) })
    else await scene.report(step, { mined: await scene.receiptOf(bundler, result) })
}

for (let number = 1; number <= 11; number++) await pay(`trade-${number}`, 10n * USDC, number)
const { result } = await ask("sessiongate_getSession", [account.address, permissionId])
await scene.report("asked", { answer: result })
scene.finish()
