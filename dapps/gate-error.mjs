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
// Startale, Rhinestone and Alchemy), of ethers 5 and 6, of web3.js, of wallets that put the answer into one of their own, and a
// JSON-RPC error as it is. web3.js 1 loses the code, abstractionkit all but code and message: then the rest is empty.
const FIRST = -32059
const LAST = -32050
const REASONS = {
    "-32050": "rule_rejected",
    "-32051": "session_unknown",
    "-32052": "session_revoked",
    "-32053": "session_not_valid_now",
    "-32054": "session_scope",
    "-32055": "limit_exceeded",
    "-32056": "rate_limited",
    "-32057": "undecodable",
    "-32058": "state_unavailable",
    "-32059": "upstream_unavailable"
}

export function gateError(error) {
    for (const said of errorsIn(error)) {
        const code = said.name === "AbstractionKitError" ? said.errno : said.code
        const data = said.name === "AbstractionKitError" ? { reason: REASONS[code] } : said.data
        const ours = Number.isInteger(code) ? code >= FIRST && code <= LAST : typeof data?.decisionId === "string"
        if (!ours || typeof data?.reason !== "string") continue
        return {
            code: Number.isInteger(code) ? code : null,
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

// An error and all that it was made of: viem has a chain of causes, ethers keeps what the server said in error, info or as
// text in body, web3.js in innerError, wallets in data; a promise of several has several.
function* errorsIn(error) {
    const seen = new Set()
    const waiting = [error]
    while (waiting.length > 0) {
        const each = waiting.shift()
        if (typeof each === "string" && each.startsWith("{") && !seen.has(each)) {
            seen.add(each)
            waiting.push(parsed(each))
            continue
        }
        if (typeof each !== "object" || each === null || seen.has(each)) continue
        seen.add(each)
        yield each
        const several = [each, each.cause, each.errors].filter(Array.isArray).flat()
        waiting.push(each.cause, each.error, each.info?.error, each.innerError, each.body, ...several)
        waiting.push(each.data, each.data?.originalError)
    }
}

function parsed(text) {
    try {
        return JSON.parse(text)
    } catch {
        return null
    }
}
