// What the gate said, out of whatever a client library wrapped it in; null when the error is somebody else's.
//
//   try { await client.sendUserOperation(…) }
//   catch (error) {
//       const said = gateError(error)
//       if (said === null) throw error            // the bundler's, the network's, your own
//       show(`${said.message}. ${said.remedy}`)   // "transfer of 10 USDC, 4 left of 100 in this session. ask for less, …"
//       if (said.retryable) later()               // the same operation may pass later, though nobody does anything
//   }
//
// Copy it. It needs nothing, and knows the errors of viem and of what is built on it (permissionless, the SDKs of
// Startale and Rhinestone), of ethers 6, and a JSON-RPC error as it is.
const FIRST = -32059
const LAST = -32050

export function gateError(error) {
    for (const said of errorsIn(error)) {
        const { code, data } = said
        if (!Number.isInteger(code) || code < FIRST || code > LAST || typeof data?.reason !== "string") continue
        return {
            code,
            reason: data.reason, // limit_exceeded, session_revoked, …: the table in the gate's README
            message: said.details ?? said.message, // viem keeps the server's own words in details
            remedy: data.remedy ?? "",
            retryable: data.retryable === true,
            mayHaveBeenSent: data.mayHaveBeenSent === true, // then look for its receipt before anything else
            decisionId: data.decisionId ?? null, // what to quote to whoever runs the gate
            data
        }
    }
    return null
}

// An error and all that it was made of: viem has a chain of causes, ethers keeps what the server said in error or info.
function* errorsIn(error) {
    const seen = new Set()
    const waiting = [error]
    while (waiting.length > 0) {
        const each = waiting.shift()
        if (typeof each !== "object" || each === null || seen.has(each)) continue
        seen.add(each)
        yield each
        waiting.push(each.cause, each.error, each.info?.error)
    }
}
