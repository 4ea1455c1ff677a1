-- Circuit breaker of a platform (circuit_breaker.py), shared by all processes.
-- KEYS[1] = wpp:breaker:{host}
--
--   KEYS[1]     hash: window, successes, failures: calls in the current window of 5 s;
--               previous_successes, previous_failures: calls in the window before it;
--               lost_connects: connects that failed in a row;
--               openings: how often the breaker opened without a minute of calm between;
--               open_until: when an open breaker may be probed, 0 while closed; closed_at
--   :probe      owner of the running probe, PX: longer than any call
--
-- Every operation returns {state, ms}: "closed", "open" and for how long, or "probe": a single
-- call may go now. Times are ms of this server's clock.

local key, operation = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local WINDOW, MIN_CALLS, MAX_LOST_CONNECTS = 5000, 20, 5
local MIN_OPEN, MAX_OPEN, CALM = 5000, 60000, 60000
local names = {
  'window', 'successes', 'failures', 'previous_successes', 'previous_failures',
  'lost_connects', 'openings', 'open_until', 'closed_at',
}
local fields = {}
for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
  fields[names[i]] = tonumber(value or 0)
end

local function save()
  local flat = {}
  for _, name in ipairs(names) do
    flat[#flat + 1] = name
    flat[#flat + 1] = string.format('%.0f', fields[name])
  end
  redis.call('HSET', key, unpack(flat))
  redis.call('PEXPIRE', key, 3600000)
end

local function open(jitter)
  if fields.open_until == 0 and now - fields.closed_at > CALM then fields.openings = 0 end
  fields.openings = fields.openings + 1
  local duration = math.min(MAX_OPEN, MIN_OPEN * 2 ^ math.min(fields.openings - 1, 10))
  fields.open_until = now + duration * jitter
end

local function state()
  if fields.open_until == 0 then return { 'closed', 0 } end
  if now < fields.open_until then return { 'open', fields.open_until - now } end
  local probe_left = redis.call('PTTL', key .. ':probe')
  if probe_left > 0 then return { 'open', math.min(probe_left, 1000) } end
  return { 'probe', 0 }
end

-- report successes failures is_lost_connect jitter: adds the calls since the last report;
-- is_lost_connect = 1 when the failed call could not connect
if operation == 'report' then
  local successes, failures = tonumber(ARGV[2]), tonumber(ARGV[3])
  if successes + failures > 0 then
    local window = math.floor(now / WINDOW)
    if window > fields.window then
      local is_next = window == fields.window + 1
      fields.previous_successes = is_next and fields.successes or 0
      fields.previous_failures = is_next and fields.failures or 0
      fields.window, fields.successes, fields.failures = window, 0, 0
    end
    fields.successes = fields.successes + successes
    fields.failures = fields.failures + failures
    if successes > 0 then fields.lost_connects = 0 end
    if failures > 0 then
      fields.lost_connects = ARGV[4] == '1' and fields.lost_connects + 1 or 0
    end
    local all_successes = fields.successes + fields.previous_successes
    local all_failures = fields.failures + fields.previous_failures
    local is_failing = all_successes + all_failures >= MIN_CALLS and all_failures >= all_successes
    if fields.open_until == 0 and (fields.lost_connects >= MAX_LOST_CONNECTS or is_failing) then
      open(tonumber(ARGV[5]))
    end
    save()
  end
  return state()
end

-- acquire_probe owner lease: gives the probe to the caller -> "probe" for this caller alone
if operation == 'acquire_probe' then
  local found = state()
  if found[1] == 'probe' then redis.call('SET', key .. ':probe', ARGV[2], 'PX', ARGV[3]) end
  return found
end

-- finish_probe owner result jitter: "1" closes the breaker, "0" opens it for longer, "-" gives the
-- probe back without a result
if operation == 'finish_probe' then
  if redis.call('GET', key .. ':probe') == ARGV[2] then
    redis.call('DEL', key .. ':probe')
    if ARGV[3] == '1' then
      local reset = {
        'successes', 'failures', 'previous_successes', 'previous_failures', 'lost_connects',
        'open_until',
      }
      for _, name in ipairs(reset) do fields[name] = 0 end
      fields.closed_at = now
      save()
    elseif ARGV[3] == '0' then
      open(tonumber(ARGV[4]))
      save()
    end
  end
  return state()
end

return redis.error_reply('unknown operation ' .. operation)
