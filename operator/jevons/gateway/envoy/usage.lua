-- Counts what an answer used, while it passes: data events, first and last token, gaps, tokens, finish reason -> dynamic metadata `llm` -> access log.
--
-- Server-sent events are cut at blank lines (LF or CRLF) wherever the network cut them; comments are not events. The chunk that only carries usage is
-- taken out when the picker asked for it and the client did not (metadata jevons.strip): idiomatic client code fails on its empty `choices`. While
-- stripping, at most one event whose `choices` have not been seen yet is held back, and never more than MAX_CARRY bytes. A JSON key such as "usage": cannot
-- occur inside a JSON string (its quotes are escaped there), so looking for keys needs no parser. Compressed bodies pass untouched; an error in here lets
-- every byte through and only the counting ends. Times are milliseconds since the epoch.

local find, sub, match, lower = string.find, string.sub, string.match, string.lower
local MAX_CARRY = 65536 -- bytes of one unfinished event kept for reading
local TAIL = 1024       -- bytes kept of what is too long to keep

local GAPS = { { 25, "gap_25" }, { 50, "gap_50" }, { 100, "gap_100" }, { 250, "gap_250" }, { math.huge, "gap_more" } }
local FINISH = { end_turn = "stop", stop_sequence = "stop", eos_token = "stop", tool_use = "tool_calls", max_tokens = "length", function_call = "tool_calls" }

local function count(object, ...)
  for _, key in ipairs({ ... }) do
    local value = match(object, '"' .. key .. '"%s*:%s*(%d+)')
    if value then return tonumber(value) end
  end
end

-- Reads the usage object(s) and the finish reason in `text` (one event, or a window of a JSON body) into `seen`.
local function read_usage(text, seen)
  local from = 1
  while true do
    local start, stop = find(text, '"usage"', from, true)
    if not start then break end
    local object = match(text, '^%s*:%s*(%b{})', stop + 1)
    if object then
      seen.usage = true
      seen.prompt_tokens = count(object, "prompt_tokens", "input_tokens") or seen.prompt_tokens
      seen.completion_tokens = count(object, "completion_tokens", "output_tokens") or seen.completion_tokens
      seen.cached_tokens = count(object, "cached_tokens", "cache_read_input_tokens") or seen.cached_tokens
      seen.reasoning_tokens = count(object, "reasoning_tokens") or seen.reasoning_tokens
    end
    from = stop + 1
  end
end

local function read_finish(text, seen)
  local reason
  if find(text, '"finish_reason"', 1, true) then
    for value in string.gmatch(text, '"finish_reason"%s*:%s*"([%w_]+)"') do
      if reason ~= "length" then reason = value end
    end
  elseif find(text, '"stop_reason"', 1, true) then
    reason = match(text, '"stop_reason"%s*:%s*"([%w_]+)"')
  end
  seen.response = seen.response or find(text, '"object"%s*:%s*"response"') ~= nil
  if seen.response and not reason then
    if find(text, '"incomplete_details"%s*:%s*{') then
      reason = "length"
    elseif find(text, '"status"%s*:%s*"failed"') then
      reason = "error"
    elseif not seen.finish and find(text, '"status"%s*:%s*"completed"') then
      reason = "stop"
    end
  end
  if reason and seen.finish ~= "length" then seen.finish = FINISH[reason] or reason end
end

-- One complete event, `now` its time. Returns true when it is the usage-only chunk.
local function read_event(event, now, seen)
  if not (sub(event, 1, 5) == "data:" or find(event, "\ndata:", 1, true)) then
    local waited = match(event, "^: .- answers after (%d+) ms")
    if waited then seen.wait_ms = tonumber(waited) end
    return false
  end
  if find(event, "^data:%s*%[DONE%]") then
    seen.done = true
    return false
  end
  seen.usage = false
  read_usage(event, seen)
  read_finish(event, seen)
  if seen.usage and find(event, '"choices"%s*:%s*%[%s*%]') then return true end
  if find(event, '^data:%s*{%s*"error"') then
    seen.finish = "error"
    seen.error = match(event, '"code"%s*:%s*"([%w_]+)"')
    return false
  end
  local kind = match(event, '^event:%s*([%w_.]+)')
  if kind then -- /v1/responses and /v1/messages name their events; only deltas are tokens
    if kind == "message_stop" or kind == "response.completed" or kind == "response.incomplete" then seen.done = true end
    if kind == "error" or kind == "response.failed" then
      seen.finish = "error"
      seen.error = match(event, '"code"%s*:%s*"([%w_]+)"')
    end
    if not find(kind, "delta", 1, true) or kind == "message_delta" then return false end
  end
  seen.events = seen.events + 1
  if seen.last_ms then
    local gap = now - seen.last_ms
    if gap > (seen.gap_max_ms or -1) then seen.gap_max_ms = gap end
    for _, bucket in ipairs(GAPS) do
      if gap <= bucket[1] then
        seen[bucket[2]] = (seen[bucket[2]] or 0) + 1
        break
      end
    end
  else
    seen.first_ms = now
  end
  seen.last_ms = now
  return false
end

-- Feeds one chunk. `state`: carry = unfinished event, held = how many bytes at its end the client has not got, overlong = its beginning was let go.
-- Returns what to send on, or nil when that is the chunk as it came.
local function feed(state, bytes, now, seen)
  if #bytes == 0 then -- the end, or nothing: give back what is held
    if state.held == 0 then return nil end
    local rest = sub(state.carry, -state.held)
    state.held = 0
    return rest
  end
  local text = state.carry .. bytes
  local passed = #state.carry - state.held -- bytes of `text` that the client has
  local out, from = {}, 1
  while true do
    local start, stop = find(text, "\r?\n\r?\n", from)
    if not start then break end
    local only_usage = false
    if stop - from >= 4 then only_usage = read_event(sub(text, from, stop), now, seen) and not state.overlong end
    state.overlong = false
    if not (only_usage and state.strip and passed < from) then
      if passed < stop then out[#out + 1] = sub(text, math.max(from, passed + 1), stop) end
    end
    passed = math.max(passed, stop)
    from = stop + 1
  end
  local carry = sub(text, from)
  local held = 0
  if state.strip and passed < from and #carry <= MAX_CARRY and not find(carry, '"choices"%s*:%s*%[%s*{') then
    held = #carry
  elseif passed < #text then
    out[#out + 1] = sub(text, math.max(from, passed + 1))
  end
  if #carry > MAX_CARRY then -- keep its kind (the first bytes) and its end, where usage stands
    carry = sub(carry, 1, TAIL) .. sub(carry, -TAIL)
    state.overlong = true
  end
  state.carry, state.held = carry, held
  if state.strip then return table.concat(out) end
end

local PUBLISHED = {
  "events", "last_ms", "first_ms", "gap_max_ms", "gap_25", "gap_50", "gap_100", "gap_250", "gap_more",
  "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "finish", "done", "wait_ms", "error",
}

local function publish(metadata, seen, said)
  for _, key in ipairs(PUBLISHED) do
    local value = seen[key]
    if value ~= nil and value ~= said[key] then
      metadata:set("llm", key, value)
      said[key] = value
    end
  end
end

local function stream(handle, strip)
  local state = { carry = "", held = 0, strip = strip, overlong = false }
  local seen, said = { events = 0 }, {}
  if strip then handle:headers():remove("content-length") end
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    local bytes = length > 0 and chunk:getBytes(0, length) or ""
    local held = state.held > 0 and sub(state.carry, -state.held) or ""
    local ok, out = pcall(feed, state, bytes, tonumber(tostring(handle:timestamp())), seen)
    if not ok then
      handle:logErr("usage.lua: counting ends: " .. tostring(out))
      if held ~= "" then chunk:setBytes(held .. bytes) end
      return
    end
    if out and out ~= bytes then chunk:setBytes(out) end
    pcall(publish, handle:streamInfo():dynamicMetadata(), seen, said)
  end
end

local function json(handle)
  local seen, said, tail = { events = 0 }, {}, ""
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local text = tail .. chunk:getBytes(0, length)
      local ok, problem = pcall(function()
        read_usage(text, seen)
        read_finish(text, seen)
      end)
      if not ok then
        handle:logErr("usage.lua: counting ends: " .. tostring(problem))
        return
      end
      tail = sub(text, -TAIL)
      publish(handle:streamInfo():dynamicMetadata(), seen, said)
    end
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local held = headers:get("x-jevons-held-ms")
  if held then -- the waiting room's own word, which the picker could not know
    headers:replace("x-jevons-wait-ms", held)
    headers:remove("x-jevons-held-ms")
  end
  local encoding = headers:get("content-encoding")
  if encoding and encoding ~= "identity" then return end
  local kind = lower(headers:get("content-type") or "")
  if find(kind, "text/event-stream", 1, true) then
    local chosen = handle:streamInfo():dynamicMetadata():get("jevons") or {}
    stream(handle, chosen["strip"] == true)
  elseif find(kind, "application/json", 1, true) then
    json(handle)
  end
end
