-- wrk's script: the requests of the file named by BODIES, one a line, in turn; the figures as one JSON line.
local bodies = {}
local next_body = 0

function init(_)
    for line in io.lines(os.getenv("BODIES")) do
        bodies[#bodies + 1] = wrk.format("POST", wrk.path, { ["Content-Type"] = "application/json" }, line)
    end
end

function request()
    next_body = next_body % #bodies + 1
    return bodies[next_body]
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %.6f, "p50": %.1f, "p99": %.1f, "failed": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
