// What viem does over one WebSocket to the gate: reads, sends, and the heads it subscribes to.
//   node clients/socket.mjs < {"url", "good", "bad", "entryPoint"}   ->   {"chainId", "hash", "refused", "entryPoints", "block"}
import fs from "node:fs"
import { createPublicClient, webSocket } from "viem"
import { createBundlerClient, entryPoint07Address } from "viem/account-abstraction"

const { url, good, bad, entryPoint } = JSON.parse(fs.readFileSync(0, "utf8"))
const transport = webSocket(url, { retryCount: 0 })
const bundler = createBundlerClient({ transport })
const node = createPublicClient({ transport })
const send = (op) => bundler.request({ method: "eth_sendUserOperation", params: [op, entryPoint] })

const block = new Promise((told, failed) =>
    node.watchBlockNumber({ poll: false, onBlockNumber: (number) => told(Number(number)), onError: failed })
)
const [chainId, entryPoints, hash, refused] = await Promise.all([
    bundler.getChainId(),
    bundler.getSupportedEntryPoints(),
    send(good).catch((error) => String(error.details ?? error)),
    send(bad).catch((error) => {
        const { code, data } = error.walk?.((cause) => cause.data?.decisionId) ?? error.cause ?? error
        return { code, reason: data?.reason }
    })
])
const served = entryPoints.includes(entryPoint07Address)
console.log(JSON.stringify({ chainId, hash, refused, served, block: await block }))
process.exit(0) // the socket stays open
