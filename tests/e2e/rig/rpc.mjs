// The few words of JSON-RPC the rig speaks itself.
export async function rpc(url, method, params = []) {
    const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })
    })
    const answer = await response.json()
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
