-- wrk's script: the requests of the file named by BODIES, one a line, each once; the figures as one JSON line.
-- What is asked when all have been sent is a question that nobody counts; how often, `beyond` tells. With AGAIN the
-- file starts again instead, which is for servers that remember nothing.
local bodies = {}
local next_body = 0
local again = os.getenv("AGAIN") == "1"
local headers = { ["Content-Type"] = "application/json" }
local threads = {}

beyond = 0

function setup(thread)
    table.insert(threads, thread)
end

function init(_)
    for line in io.lines(os.getenv("BODIES")) do
        bodies[#bodies + 1] = wrk.format("POST", wrk.path, headers, line)
    end
    filler = wrk.format("POST", wrk.path, headers, '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}')
end

function request()
    next_body = next_body + 1
    if next_body > #bodies then
        if not again then
            beyond = beyond + 1
            return filler
        end
        next_body = 1
    end
    return bodies[next_body]
end

function done(summary, latency, _)
    local errors = summary.errors
    local asked_beyond = 0
    for _, thread in ipairs(threads) do
        asked_beyond = asked_beyond + (thread:get("beyond") or 0)
    end
    io.write(string.format(
        '\n{"requests": %d, "seconds": %.6f, "p50": %.1f, "p99": %.1f, "p999": %.1f, "failed": %d, "beyond": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        latency:percentile(99.9), errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        asked_beyond))
end
