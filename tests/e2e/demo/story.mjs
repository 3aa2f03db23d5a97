// A session's story, told live: the Startale SDK, unmodified, talks to a bundler through the gate. Exit code 0
// only if every step went as told.
import {
    createSmartAccountClient,
    getSmartSessionsValidator,
    smartSessionCreateActions,
    smartSessionUseActions,
    SmartSessionMode,
    toOwnableModule,
    toSmartSessionsValidator,
    toStartaleSmartAccount
} from "@startale-scs/aa-sdk"
import { toFunctionSelector } from "viem"
import * as scene from "../flows/scene.mjs"
import { COUNTER, TOKEN } from "../rig/addresses.mjs"
import { bold, chapter, dim, field, green, red, remark, say, short, yellow } from "./terminal.mjs"

const { counter, token, keys, chain, transport, publicClient, rig } = scene
const LESS_OR_EQUAL = 4
let surprises = 0

const validators = [toOwnableModule({ signer: keys.owner, threshold: 1, owners: [keys.owner.address] })]
const openAccount = (accountAddress) =>
    toStartaleSmartAccount({ signer: keys.owner, chain, transport, index: scene.accountIndex, validators, accountAddress })
const clientFor = (account) =>
    createSmartAccountClient({ account, chain, transport: scene.bundlerTransport, client: publicClient, pollingInterval: 100 })

const account = await openAccount()
const owner = clientFor(account)
await scene.fund(account.address)

async function sessionOf(signer, permissionId) {
    const held = await openAccount(account.address)
    const moduleData = { permissionIds: [permissionId], mode: SmartSessionMode.USE }
    const module = toSmartSessionsValidator({ account: held, signer, moduleData })
    return clientFor(held).extend(smartSessionUseActions(module))
}

async function allowed(what, send) {
    const started = Date.now()
    try {
        const hash = await send()
        const { success } = await owner.waitForUserOperationReceipt({ hash, timeout: 20_000 })
        if (!success) throw new Error(`operation ${hash} reverted`)
        const seconds = ((Date.now() - started) / 1000).toFixed(1)
        say(`   ${green("✔ mined")}     ${what.padEnd(48)} ${dim(`${short(hash)}  ${seconds} s`)}`)
    } catch (error) {
        unexpected(what, error)
    }
}

const sendsSeen = async () => (await fetch(`${rig.recorder}/sends`)).json()

async function rejected(what, code, send) {
    const before = await sendsSeen()
    try {
        const hash = await send()
        return unexpected(what, new Error(`it was accepted as ${hash}`))
    } catch (error) {
        const refusal = scene.rpcErrorOf(error)
        if (refusal.code !== code || !refusal.data?.remedy) return unexpected(what, error)
        if ((await sendsSeen()) !== before) return unexpected(what, new Error("the bundler received it"))
        say(`   ${red("✘ rejected")}  ${what}`)
        field("error", `${refusal.code} ${refusal.data.reason}`, yellow)
        field("reason", refusal.message)
        field("remedy", refusal.data.remedy)
        field("decision", refusal.data.decisionId, dim)
        field("bundler", "never received it", dim)
    }
}

function unexpected(what, error) {
    surprises += 1
    say(`   ${red("! otherwise than told:")} ${what}`)
    field("because", error.details ?? error.message, red)
}

chapter(1, "The owner makes an account and installs Smart Sessions")
remark(`account ${account.address}`)
await allowed("deploy the account, install the module", () =>
    owner.installModule({ module: getSmartSessionsValidator({ useRegistry: false }) })
)

chapter(2, "The owner grants a permission to a session key")
remark("counter.increment() freely, counter.add(n) with n ≤ 100, transfers up to 1000 TUSD in all")
const addUpTo100 = { condition: LESS_OR_EQUAL, offsetIndex: 0, isLimited: false, ref: 100n, usage: { limit: 0n, used: 0n } }
const grantor = owner.extend(smartSessionCreateActions())
let permissionId
await allowed("enableSessions, signed by the owner", async () => {
    const granted = await grantor.grantPermission({
        sessionRequestedInfo: [
            {
                sessionPublicKey: keys.session.address,
                actionPoliciesInfo: [
                    { contractAddress: COUNTER, functionSelector: toFunctionSelector("increment()"), sudo: true },
                    { contractAddress: COUNTER, functionSelector: toFunctionSelector("add(uint256)"), rules: [addUpTo100] },
                    { contractAddress: TOKEN, functionSelector: toFunctionSelector("transfer(address,uint256)"), tokenLimits: [{ token: TOKEN, limit: 1000n }] }
                ]
            }
        ]
    })
    permissionId = granted.permissionIds[0]
    return granted.userOpHash
})
remark(`permission ${permissionId}`)

chapter(3, "The session key works on its own, inside its permission")
const session = await sessionOf(keys.session, permissionId)
const transfer = token("transfer", [keys.owner.address, 400n])
await allowed("increment()", () => session.usePermission({ calls: [counter("increment")] }))
await allowed("add(7)", () => session.usePermission({ calls: [counter("add", [7n])] }))
await allowed("a batch: increment(), add(5), transfer 400 TUSD", () =>
    session.usePermission({ calls: [counter("increment"), counter("add", [5n]), transfer] })
)

chapter(4, "It reaches for a function that was not granted")
await rejected("counter.fail()", -32054, () => session.usePermission({ calls: [counter("fail")], ...scene.GAS }))

chapter(5, "A stranger's key claims the same permission")
const stranger = await sessionOf(keys.stranger, permissionId)
await rejected("increment(), signed by another key", -32054, () =>
    stranger.usePermission({ calls: [counter("increment")], ...scene.GAS })
)

chapter(6, "The permission would allow it; a rule of the gate's operators does not")
remark("450 TUSD an hour for each session, 400 of them are gone")
const small = token("transfer", [keys.owner.address, 50n])
const more = token("transfer", [keys.owner.address, 51n])
await rejected("transfer 51 TUSD", -32050, () => session.usePermission({ calls: [more], ...scene.GAS }))
await allowed("transfer 50 TUSD", () => session.usePermission({ calls: [small] }))

chapter(7, "The owner revokes the permission, the session key tries once more")
await allowed("removeSession, signed by the owner", async () => (await grantor.revokeSession({ permissionId })).userOpHash)
await rejected("increment()", -32052, () => session.usePermission({ calls: [counter("increment")], ...scene.GAS }))

say()
say(surprises === 0 ? bold(green("Every step went as told.")) : bold(red(`${surprises} step(s) went otherwise than told.`)))
process.exit(surprises === 0 ? 0 : 1)
