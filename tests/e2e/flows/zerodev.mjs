// ZeroDev's SDK, unmodified, as its guides use it: a Kernel account with an owner's ECDSA validator, and a permission of
// Kernel's own (nonce type 02), another product than Smart Sessions: what it allows, its own contracts say and nobody else.
import { signerToEcdsaValidator } from "@zerodev/ecdsa-validator"
import { toPermissionValidator } from "@zerodev/permissions"
import { toSudoPolicy } from "@zerodev/permissions/policies"
import { toECDSASigner } from "@zerodev/permissions/signers"
import { createKernelAccount, createKernelAccountClient, getUserOperationGasPrice } from "@zerodev/sdk"
import { getEntryPoint, KERNEL_V3_1 } from "@zerodev/sdk/constants"
import * as scene from "./scene.mjs"

const { counter, keys, chain, publicClient } = scene
const entryPoint = getEntryPoint("0.7")
const kernelVersion = KERNEL_V3_1
const index = scene.accountIndex

const sudo = await signerToEcdsaValidator(publicClient, { signer: keys.owner, entryPoint, kernelVersion })
const open = (plugins) => createKernelAccount(publicClient, { plugins, index, entryPoint, kernelVersion })
const clientOf = (account) =>
    createKernelAccountClient({
        account,
        chain,
        client: publicClient,
        bundlerTransport: scene.bundlerTransport,
        pollingInterval: 100,
        userOperation: { estimateFeesPerGas: ({ bundlerClient }) => getUserOperationGasPrice(bundlerClient) }
    })
const send = (step, client, ...calls) => scene.attempt(step, () => client.sendUserOperation({ calls }), client)

const account = await open({ sudo })
await scene.fund(account.address)
await send("owner", clientOf(account), counter("increment"))

const permission = async (signer) =>
    toPermissionValidator(publicClient, {
        signer: await toECDSASigner({ signer }),
        policies: [toSudoPolicy({})],
        entryPoint,
        kernelVersion
    })
const permitted = clientOf(await open({ sudo, regular: await permission(keys.session) }))
await send("permission-enabled-by-its-first-use", permitted, counter("increment"))
await send("permission-used", permitted, counter("add", [7n]))
scene.finish()
