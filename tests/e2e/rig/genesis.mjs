// Puts every contract where the SDKs expect it, and writes down the addresses that are not constants.
//   node rig/genesis.mjs NODE_URL OUT.json
// EntryPoint, Nexus, Safe7579 and the session engine are real bytecode out of npm packages; contracts/*.sol
// stands in for what no package carries (README.md has the whole table).
import fs from "node:fs"
import { createRequire } from "node:module"
import path from "node:path"
import { ACCOUNT_FACTORY_ADDRESS, BOOTSTRAP_ADDRESS } from "@startale-scs/aa-sdk"
import { DEFAULT_CONFIGURATIONS_BY_MEE_VERSION, MEEVersion } from "@biconomy/abstractjs"
import { DEFAULT_CONSTANTS } from "@rhinestone/module-sdk"
import { getValidatorAddress as ecdsaValidatorOf } from "@zerodev/ecdsa-validator"
import { ECDSA_SIGNER_CONTRACT, SUDO_POLICY_CONTRACT } from "@zerodev/permissions"
import { KERNEL_V3_1, KernelVersionToAddressesMap, getEntryPoint } from "@zerodev/sdk/constants"
import { concat, encodeAbiParameters, encodeDeployData, encodeFunctionData, getCreate2Address, pad, parseAbi, zeroHash } from "viem"
import * as at from "./addresses.mjs"
import { rpc, sleep } from "./rpc.mjs"

const [node, out] = process.argv.slice(2)
const build = path.join(import.meta.dirname, "..", "build")
const contracts = JSON.parse(fs.readFileSync(path.join(build, "contracts.json"), "utf8"))
const [funder] = await rpc(node, "eth_accounts")

async function send(transaction) {
    const hash = await rpc(node, "eth_sendTransaction", [{ from: funder, gas: "0x1c9c380", ...transaction }])
    for (let attempt = 0; attempt < 200; attempt++) {
        const receipt = await rpc(node, "eth_getTransactionReceipt", [hash])
        if (receipt?.status === "0x1") return receipt
        if (receipt) throw new Error(`transaction ${hash} failed`)
        await sleep(10)
    }
    throw new Error(`no receipt for ${hash}`)
}

const codeAt = (address) => rpc(node, "eth_getCode", [address, "latest"])

async function create2(bytecode, salt = zeroHash) {
    const address = getCreate2Address({ from: at.DETERMINISTIC_DEPLOYER, salt, bytecode })
    await send({ to: at.DETERMINISTIC_DEPLOYER, data: concat([salt, bytecode]) })
    return address
}

// Runs the constructor wherever it lands, then puts the code where the SDKs look for it.
async function place(address, bytecode) {
    const { contractAddress } = await send({ data: bytecode })
    await rpc(node, "anvil_setCode", [address, await codeAt(contractAddress)])
    return address
}

// For code above the limit of EIP-170, which modulekit's Kernel is: its constructor is called, not created.
async function placeLarge(address, bytecode) {
    await rpc(node, "anvil_setCode", [address, bytecode])
    await rpc(node, "anvil_setCode", [address, await rpc(node, "eth_call", [{ to: address }, "latest"])])
    return address
}

const own = (name, ...args) => encodeDeployData({ ...contracts[name], args })

// A bytecode constant out of modulekit's Solidity sources.
function modulekit(file, constant) {
    const source = fs.readFileSync(path.join(build, "modulekit/src/deployment/precompiles", file), "utf8")
    const found = source.match(new RegExp(`\\b${constant}\\s*=\\s*hex"([0-9a-fA-F]+)"`))
    if (!found) throw new Error(`${constant} is not in ${file}`)
    return `0x${found[1]}`
}
const kernel = (constant) => modulekit("KernelPrecompiles.sol", constant)
const nexus = (constant) => modulekit("NexusPrecompiles.sol", constant)
const safe = (constant) => modulekit("Safe7579Precompiles.sol", constant)

const addresses = (...values) => encodeAbiParameters(values.map(() => ({ type: "address" })), values)

async function placeEntryPoint() {
    // the package's creation code and the published salt give the canonical address
    const { bytecode } = createRequire(import.meta.url)("@account-abstraction/contracts/artifacts/EntryPoint.json")
    const salt = "0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3"
    const address = await create2(bytecode, salt)
    if (address !== at.ENTRY_POINT) throw new Error(`EntryPoint landed at ${address}`)
}

async function placeSmartSessions() {
    await rpc(node, "anvil_setCode", [at.ENGINE, modulekit("SmartSessionsPrecompiles.sol", "SMART_SESSION_DEPLOYED_BYTECODE")])
    await place(at.SMART_SESSIONS, own("SmartSession", at.ENGINE))
    await place(at.REGISTRY, own("AllowAllRegistry"))
    await place(at.OWNABLE_VALIDATOR, own("OwnableValidator", false))
    await place(at.OWNABLE_VALIDATOR_BETA, own("OwnableValidator", true)) // this release prefixes what it checks
    const policies = {
        SudoPolicy: DEFAULT_CONSTANTS.SUDO_POLICY_ADDRESS,
        TimeFramePolicy: DEFAULT_CONSTANTS.TIME_FRAME_POLICY_ADDRESS,
        UsageLimitPolicy: DEFAULT_CONSTANTS.USAGE_LIMIT_POLICY_ADDRESS,
        ValueLimitPolicy: DEFAULT_CONSTANTS.VALUE_LIMIT_POLICY_ADDRESS,
        ERC20SpendingLimitPolicy: DEFAULT_CONSTANTS.SPENDING_LIMITS_POLICY_ADDRESS,
        UniActionPolicy: DEFAULT_CONSTANTS.UNIVERSAL_ACTION_POLICY_ADDRESS,
        SimpleGasPolicy: at.SIMPLE_GAS_POLICY,
        ArgPolicy: at.ARG_POLICY,
        ContractWhitelistPolicy: at.CONTRACT_WHITELIST_POLICY
    }
    for (const [name, address] of Object.entries(policies)) await place(address, own(name))
}

async function placeNexus() {
    const implementation = await create2(concat([nexus("NEXUS_BYTECODE"), addresses(at.ENTRY_POINT)]))
    const bootstrap = await create2(nexus("NEXUS_BOOTSTRAP_BYTECODE"))
    const factory = concat([nexus("NEXUS_ACCOUNT_FACTORY_BYTECODE"), addresses(implementation, funder)])
    await place(ACCOUNT_FACTORY_ADDRESS, factory)
    await place(BOOTSTRAP_ADDRESS, own("StartaleBootstrap", bootstrap))
    await placeBiconomy(factory, implementation, bootstrap)
    return { ownerFactory: await create2(own("OwnerFactory", ACCOUNT_FACTORY_ADDRESS, bootstrap, at.OWNABLE_VALIDATOR)) }
}

// The release of Biconomy's contracts whose account and bootstrap are the ones at hand.
async function placeBiconomy(factory, implementation, bootstrap) {
    const { [MEEVersion.V1_0_0]: mee } = DEFAULT_CONFIGURATIONS_BY_MEE_VERSION
    await place(mee.factoryAddress, factory)
    for (const [address, from] of [[mee.implementationAddress, implementation], [mee.bootStrapAddress, bootstrap]]) {
        await rpc(node, "anvil_setCode", [address, await codeAt(from)])
    }
    await place(mee.validatorAddress, own("OwnerKeyValidator"))
    await place(mee.composableModuleAddress, own("Placeholder"))
}

async function placeKernel() {
    const { accountImplementationAddress, factoryAddress, metaFactoryAddress } = KernelVersionToAddressesMap[KERNEL_V3_1]
    await placeLarge(accountImplementationAddress, concat([kernel("KERNEL_BYTECODE"), addresses(at.ENTRY_POINT)]))
    await place(factoryAddress, concat([kernel("KERNEL_FACTORY_BYTECODE"), addresses(accountImplementationAddress)]))
    await place(metaFactoryAddress, own("KernelMetaFactory"))
    await place(ecdsaValidatorOf(getEntryPoint("0.7"), KERNEL_V3_1), own("OwnerKeyValidator"))
    await place(ECDSA_SIGNER_CONTRACT, own("PermissionSigner"))
    await place(SUDO_POLICY_CONTRACT, own("AllowAllPermissionPolicy"))
}

async function placeSafe() {
    const launchpad = concat([safe("SAFE7579_LAUNCHPAD_BYTECODE"), addresses(at.ENTRY_POINT, at.REGISTRY)])
    return {
        safe7579: await create2(safe("SAFE7579_BYTECODE")),
        safeLaunchpad: await create2(launchpad),
        safeSingleton: await create2(safe("SAFE_SINGLETON_BYTECODE")),
        safeProxyFactory: await create2(safe("SAFE_PROXY_FACTORY_BYTECODE"))
    }
}

async function placeTargets() {
    await place(at.COUNTER, own("Counter"))
    await place(at.TOKEN, own("Token"))
    await place(at.PAYMASTER, own("AcceptAllPaymaster"))
    const data = encodeFunctionData({ abi: parseAbi(["function depositTo(address) payable"]), args: [at.PAYMASTER] })
    await send({ to: at.ENTRY_POINT, value: "0x8ac7230489e80000", data })
}

await placeEntryPoint()
await placeSmartSessions()
const deployed = { ...(await placeNexus()), ...(await placeSafe()) }
await placeKernel()
await placeTargets()
fs.writeFileSync(out, JSON.stringify(deployed, null, 2))
