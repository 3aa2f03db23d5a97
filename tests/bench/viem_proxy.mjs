// A small Node proxy of the usual kind: it reads every body, decodes the call data of an operation with viem, and
// passes the request on.   node viem_proxy.mjs PORT UPSTREAM_PORT VIEM_FOLDER
import http from 'node:http'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'

const [port, upstream, modules] = process.argv.slice(2)
const { decodeAbiParameters, decodeFunctionData, parseAbi } = await import(
  pathToFileURL(join(modules, 'viem', '_esm', 'index.js')).href)

const ACCOUNT = parseAbi(['function execute(bytes32 mode, bytes executionCalldata)'])
const BATCH = [{ type: 'tuple[]', components: [
  { name: 'target', type: 'address' }, { name: 'value', type: 'uint256' }, { name: 'callData', type: 'bytes' }] }]
const agent = new http.Agent({ keepAlive: true, maxSockets: 1024 })

function decoded(op) {
  const { args: [mode, data] } = decodeFunctionData({ abi: ACCOUNT, data: op.callData })
  if (mode.startsWith('0x01')) return decodeAbiParameters(BATCH, data)[0]
  return [{ target: data.slice(0, 42), value: BigInt('0x' + data.slice(42, 106)), callData: '0x' + data.slice(106) }]
}

const server = http.createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const body = Buffer.concat(parts)
    if (body.length === 0) return response.end()
    const asked = JSON.parse(body)
    if (asked.method === 'eth_sendUserOperation') {
      const calls = decoded(asked.params[0])
      if (calls.some((call) => call.target.length !== 42)) return response.writeHead(400).end()
    }
    const printed = JSON.stringify(asked)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(printed) }
    const onward = http.request({ port: upstream, host: '127.0.0.1', method: 'POST', agent, headers }, (answer) => {
      response.writeHead(answer.statusCode, { 'content-type': 'application/json' })
      answer.pipe(response)
    })
    onward.on('error', () => response.writeHead(502).end())
    onward.end(printed)
  })
})
server.keepAliveTimeout = 75_000
server.listen(Number(port), '127.0.0.1')
