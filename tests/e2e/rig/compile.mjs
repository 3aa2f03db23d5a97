// Compiles contracts/ with solc-js into build/contracts.json: name -> {abi, bytecode}.
import fs from "node:fs"
import { createRequire } from "node:module"
import path from "node:path"

const solc = createRequire(import.meta.url)("solc")
const root = path.join(import.meta.dirname, "..")
const folder = path.join(root, "contracts")

const sources = Object.fromEntries(
    fs
        .readdirSync(folder, { recursive: true })
        .filter((name) => name.endsWith(".sol"))
        .map((name) => [name, { content: fs.readFileSync(path.join(folder, name), "utf8") }])
)
const settings = {
    optimizer: { enabled: true, runs: 200 },
    viaIR: true, // the nested session structs do not fit the stack without it
    evmVersion: "cancun",
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } }
}
const findImport = (name) => {
    const file = path.join(root, "node_modules", name)
    return fs.existsSync(file) ? { contents: fs.readFileSync(file, "utf8") } : { error: `not found: ${name}` }
}

const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings }), { import: findImport }))
const errors = (output.errors ?? []).filter((entry) => entry.severity === "error")
if (errors.length > 0) {
    for (const error of errors) console.error(error.formattedMessage)
    process.exit(1)
}
const contracts = {}
for (const file of Object.keys(sources)) {
    for (const [name, { abi, evm }] of Object.entries(output.contracts[file] ?? {})) {
        if (evm.bytecode.object) contracts[name] = { abi, bytecode: `0x${evm.bytecode.object}` }
    }
}
fs.mkdirSync(path.join(root, "build"), { recursive: true })
fs.writeFileSync(path.join(root, "build", "contracts.json"), JSON.stringify(contracts))
