-- What wrk sends and counts; load.go runs it. REQUESTS is a file with one body a line, which are sent in turn. COUNTED is
-- a text whose occurrences in the answers are counted.
local requests, last, threads = {}, 0, {}
local counted_text = os.getenv("COUNTED")
counted, failure = 0, "" -- global, so that done can read them

function setup(thread) table.insert(threads, thread) end

function init()
  wrk.headers["Content-Type"] = "application/json"
  for body in io.lines(os.getenv("REQUESTS")) do
    table.insert(requests, wrk.format("POST", nil, nil, body))
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function response(status, _, body)
  if status ~= 200 and failure == "" then
    failure = status .. " " .. body:sub(1, 300)
  end
  local at = body:find(counted_text, 1, true)
  while at do
    counted = counted + 1
    at = body:find(counted_text, at + #counted_text, true)
  end
end

function done(summary, latency)
  local thread, errors = threads[1], summary.errors
  io.stderr:write(thread:get("failure"))
  io.write(string.format('\n{"answers": %d, "errors": %d, "counted": %d, "took": %d, "mean": %.0f, "p50": %d, "p99": %d}\n',
    summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout, thread:get("counted"),
    summary.duration, latency.mean, latency:percentile(50), latency:percentile(99)))
end
