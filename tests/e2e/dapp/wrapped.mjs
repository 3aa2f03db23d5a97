// What gateError makes of one answer, put into what libraries and wallets that are not installed here make of it.
//   node dapp/wrapped.mjs ERROR   ->   {"name": {"code", "reason", …} | null, …}
import { gateError } from "../../../dapps/gate-error.mjs"

const error = JSON.parse(process.argv[2])
const answer = { jsonrpc: "2.0", id: 1, error }
const internal = (data) => ({ code: -32603, message: "Internal JSON-RPC error.", data })
const circular = Object.assign(new Error("it causes itself"), { error })
circular.cause = circular

const wrapped = {
    "the answer": answer,
    "the answer as text": JSON.stringify(answer),
    "web3.js 1": Object.assign(new Error(`Returned error: ${error.message}`), { data: error.data }),
    "web3.js 4": Object.assign(new Error("Returned error"), { code: 100, innerError: error, cause: [error] }),
    "ethers 5": Object.assign(new Error("bad response"), { code: "SERVER_ERROR", body: JSON.stringify(answer) }),
    "ethers 5 twice": Object.assign(new Error("failed"), { code: "UNPREDICTABLE_GAS_LIMIT", error: { error: { body: JSON.stringify(answer) } } }),
    "a wallet": internal(error),
    "an older wallet": internal({ originalError: error }),
    "one of several": new AggregateError([new Error("another"), Object.assign(new Error(), error)], "all failed"),
    circular
}
console.log(JSON.stringify(Object.fromEntries(Object.entries(wrapped).map(([name, each]) => [name, gateError(each)]))))
