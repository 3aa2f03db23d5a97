// Stands in front of the bundler, passes bodies through untouched and writes every exchange down: the witness
// of what the bundler was and was not asked.
//   node rig/recorder.mjs PORT BUNDLER_URL OUT.jsonl
//   POST /bundler   the bundler as it is
//   POST /rundler   the same, but answering what alto lacks of the methods of other vendors' bundlers, as theirs do
//   POST /mark      {"run", "step"}: names what follows
//   GET  /sends     how many operations were submitted so far
import fs from "node:fs"
import http from "node:http"

const [port, bundler, out] = process.argv.slice(2)
const PRIORITY_FEE = "0x3b9aca00"
const FEES = { maxFeePerGas: "0x77359400", maxPriorityFeePerGas: PRIORITY_FEE }
const TIERS = { slow: FEES, standard: FEES, fast: FEES }
const LACKING = {
    rundler_maxPriorityFeePerGas: PRIORITY_FEE,
    biconomy_getGasFeeValues: TIERS,
    biconomy_getUserOperationStatus: { state: "PENDING" },
    zd_getUserOperationGasPrice: TIERS
}
let mark = { run: "", step: "" }
let seq = 0
let sends = 0

async function ask(path, body, contentType) {
    const request = JSON.parse(body)
    if (path === "/rundler" && request.method in LACKING) {
        const response = { jsonrpc: "2.0", id: request.id, result: LACKING[request.method] }
        return { status: 200, text: JSON.stringify(response), request, response, answeredHere: true }
    }
    const upstream = await fetch(bundler, { method: "POST", headers: { "content-type": contentType }, body })
    const text = await upstream.text()
    return { status: upstream.status, text, request, response: parsed(text) }
}

function parsed(text) {
    try {
        return JSON.parse(text)
    } catch {
        return text
    }
}

async function bodyOf(request) {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
}

async function serve(request, reply) {
    const body = await bodyOf(request)
    if (request.url === "/mark") {
        mark = JSON.parse(body)
        return reply.end("{}")
    }
    if (request.url === "/sends") return reply.end(JSON.stringify(sends))
    const { run, step } = mark // as it was when the request came
    if (body.includes("eth_sendUserOperation")) sends += 1
    const line = { seq: ++seq, run, step, to: "bundler" }
    const { text, ...exchange } = await ask(request.url, body, request.headers["content-type"] ?? "application/json")
    fs.appendFileSync(out, `${JSON.stringify({ ...line, ...exchange })}\n`)
    reply.writeHead(exchange.status, { "content-type": "application/json; charset=utf-8" })
    reply.end(text)
}

http.createServer((request, reply) =>
    serve(request, reply).catch((error) => {
        reply.writeHead(502, { "content-type": "application/json" })
        reply.end(JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32000, message: String(error) } }))
    })
).listen(Number(port), "127.0.0.1")
