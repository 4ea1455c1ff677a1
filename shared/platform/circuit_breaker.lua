-- Circuit breaker of one platform (circuit_breaker.py), shared by all processes. KEYS[1] = wpp:breaker:{host}
--
--   KEYS[1]     hash: slot ok bad, prev_ok prev_bad: calls in this 5 s slot and the one before; lost: connects that
--               failed in a row; trips: openings without a minute of calm between; until: when an open breaker may be
--               probed, by this server's clock in ms, 0 while closed; closed_at
--   :probe      who probes, PX: longer than a call may last
--
-- Every operation returns {state, ms}: "closed", "open" and how long, or "probe": one call may go now. Times in ms.

local K, op = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local SLOT, ENOUGH, IN_A_ROW, SHORTEST, LONGEST, CALM = 5000, 20, 5, 5000, 60000, 60000
local names = { 'slot', 'ok', 'bad', 'prev_ok', 'prev_bad', 'lost', 'trips', 'until', 'closed_at' }
local h = {}
for i, value in ipairs(redis.call('HMGET', K, unpack(names))) do h[names[i]] = tonumber(value or 0) end

local function save()
  local fields = {}
  for _, name in ipairs(names) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.0f', h[name])
  end
  redis.call('HSET', K, unpack(fields))
  redis.call('PEXPIRE', K, 3600000)
end

local function open(jitter)
  if h['until'] == 0 and now - h.closed_at > CALM then h.trips = 0 end
  h.trips = h.trips + 1
  h['until'] = now + math.min(LONGEST, SHORTEST * 2 ^ math.min(h.trips - 1, 10)) * jitter
end

local function state()
  if h['until'] == 0 then return { 'closed', 0 } end
  if now < h['until'] then return { 'open', h['until'] - now } end
  local left = redis.call('PTTL', K .. ':probe')
  if left > 0 then return { 'open', math.min(left, 1000) } end
  return { 'probe', 0 }
end

-- tell ok bad lost jitter: calls since the last time; lost = 1 when the last of them could not connect
if op == 'tell' then
  local ok, bad = tonumber(ARGV[2]), tonumber(ARGV[3])
  if ok + bad > 0 then
    local slot = math.floor(now / SLOT)
    if slot > h.slot then
      local next_to = slot == h.slot + 1
      h.prev_ok, h.prev_bad = next_to and h.ok or 0, next_to and h.bad or 0
      h.slot, h.ok, h.bad = slot, 0, 0
    end
    h.ok, h.bad = h.ok + ok, h.bad + bad
    if ok > 0 then h.lost = 0 end
    if bad > 0 then h.lost = ARGV[4] == '1' and h.lost + 1 or 0 end
    local good, wrong = h.ok + h.prev_ok, h.bad + h.prev_bad
    if h['until'] == 0 and (h.lost >= IN_A_ROW or (good + wrong >= ENOUGH and wrong >= good)) then
      open(tonumber(ARGV[5]))
    end
    save()
  end
  return state()
end

-- take owner lease: become the one that probes -> "probe" for that one alone
if op == 'take' then
  local found = state()
  if found[1] == 'probe' then redis.call('SET', K .. ':probe', ARGV[2], 'PX', ARGV[3]) end
  return found
end

-- probed owner ok jitter: the probe's answer closes the breaker or opens it for longer; "-" only lets the next one go
if op == 'probed' then
  if redis.call('GET', K .. ':probe') == ARGV[2] then
    redis.call('DEL', K .. ':probe')
    if ARGV[3] == '1' then
      for _, name in ipairs({ 'ok', 'bad', 'prev_ok', 'prev_bad', 'lost', 'until' }) do h[name] = 0 end
      h.closed_at = now
      save()
    elseif ARGV[3] == '0' then
      open(tonumber(ARGV[4]))
      save()
    end
  end
  return state()
end

return redis.error_reply('unknown operation ' .. op)
