// A Safe7579 account with an owner's validator and the session module, born as permissionless does it. With the argument
// `attested` it has a registry and an attester; without, none.
import { createSmartAccountClient } from "permissionless"
import { toSafeSmartAccount } from "permissionless/accounts"
import { createPimlicoClient } from "permissionless/clients/pimlico"
import { getOwnableValidator } from "@rhinestone/module-sdk"
import { entryPoint07Address } from "viem/account-abstraction"
import { REGISTRY, SMART_SESSIONS } from "../rig/addresses.mjs"
import * as scene from "./scene.mjs"

const { keys, chain, publicClient, rig } = scene
const attested = process.argv[2] === "attested"
const entryPoint = { address: entryPoint07Address, version: "0.7" }
const ownable = getOwnableValidator({ threshold: 1, owners: [keys.owner.address] })
const account = await toSafeSmartAccount({
    client: publicClient, owners: [keys.owner], version: "1.4.1", saltNonce: scene.accountIndex, entryPoint,
    safe4337ModuleAddress: rig.deployed.safe7579, erc7579LaunchpadAddress: rig.deployed.safeLaunchpad,
    safeSingletonAddress: rig.deployed.safeSingleton, safeProxyFactoryAddress: rig.deployed.safeProxyFactory,
    attesters: attested ? [REGISTRY] : [], attestersThreshold: attested ? 1 : 0,
    validators: [{ address: ownable.address, context: ownable.initData }, { address: SMART_SESSIONS, context: "0x" }]
})
await scene.fund(account.address)
const pimlico = createPimlicoClient({ transport: scene.bundlerTransport, entryPoint })
const client = createSmartAccountClient({
    account, chain, client: publicClient, pollingInterval: 100, bundlerTransport: scene.bundlerTransport,
    userOperation: { estimateFeesPerGas: async () => (await pimlico.getUserOperationGasPrice()).fast }
})
await scene.attempt("born", () => client.sendUserOperation({ calls: [scene.counter("increment")] }), client)
await scene.report("account", { answer: account.address })
scene.finish()
