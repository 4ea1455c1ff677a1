-- The rate of a number that the platform limits with 429 (rate_limits.py). Times in ms of the lanes' clock.
--
--   KEYS[1]  hash, expires 10 min after the last 429: rate = messages a second that may go out;
--            credit = messages that may go out at `at`, by which it grows with the rate; until = end
--            of the last Retry-After; probe: 1 = a single message tests the limit next, 2 = it does
--            so now, until probe_until; ceiling: 1 = the rate was found too high before; tail,
--            served = messages that waited and that went out: a new one waits for the difference
--   KEYS[2]  set of the limited numbers
--   KEYS[3]  string: the place of a message among those that wait
--   KEYS[4]  the clock of the lanes
--
-- ARGV[1] is the operation, ARGV[2] the number; a comment at each operation lists the others.

local limit, limited, place_key = KEYS[1], KEYS[2], KEYS[3]
local operation, number = ARGV[1], ARGV[2]
local _, now = read_clock(KEYS[4])
local FIRST_RATE, MIN_RATE, MAX_RATE, DECREASE = 1, 0.02, 100, 0.7
local LIFE, MAX_WAIT, PROBE_TIME = 600000, 300000, 30000
local names = {
  'rate', 'credit', 'at', 'until', 'probe', 'probe_until', 'ceiling', 'tail', 'served',
}
local state = {}
for i, value in ipairs(redis.call('HMGET', limit, unpack(names))) do
  state[names[i]] = tonumber(value or 0)
end
local is_limited = state.rate > 0

local function save()
  local flat = {}
  for _, name in ipairs(names) do
    flat[#flat + 1] = name
    flat[#flat + 1] = string.format('%.6f', state[name])
  end
  redis.call('HSET', limit, unpack(flat))
end

local function lift()
  redis.call('DEL', limit)
  redis.call('SREM', limited, number)
end

-- refuse number retry_after: the platform answered 429 -> the new rate * 1000 if it was lowered, else
-- 0. Answers to messages that went out together lower it once.
if operation == 'refuse' then
  local was_free = now >= state['until'] or state['until'] > now + MAX_WAIT
  if was_free then
    local lower = math.max(MIN_RATE, state.rate * DECREASE)
    state.rate = is_limited and lower or FIRST_RATE
    state.ceiling = is_limited and state.probe == 0 and 1 or state.ceiling
    state['until'] = 0
  end
  state['until'] = math.max(state['until'], now + tonumber(ARGV[3]))
  state.probe = 1
  save()
  redis.call('PEXPIRE', limit, LIFE)
  redis.call('SADD', limited, number)
  return was_free and math.floor(state.rate * 1000) or 0
end

if not is_limited then
  redis.call('SREM', limited, number)
  return operation == 'acquire' and 0 or 1
end

-- succeed number: a message was not refused -> 1 when the number is no longer limited. The rate
-- grows by a tenth, or by 0.2 a second once it was found too high.
if operation == 'succeed' then
  local growth = state.ceiling == 1 and 0.2 / math.max(1, state.rate) or state.rate * 0.1
  if now < state['until'] then growth = 0 end -- went out before the last 429
  state.rate = state.rate + growth
  if state.probe == 2 then
    state.probe, state.credit, state.at = 0, 0, now
  end
  if state.rate >= MAX_RATE then
    lift()
    return 1
  end
  save()
  return 0
end

-- acquire number: may a message go out now? -> 0, or how long it waits.
local until_left = math.min(state['until'] - now, MAX_WAIT)
if until_left > 0 then return until_left end
if state.probe == 2 and (now >= state.probe_until or state.probe_until > now + PROBE_TIME) then
  state.probe = 1 -- its worker vanished
end
if state.probe == 1 then
  state.probe, state.probe_until = 2, now + PROBE_TIME
  state.served = state.served + 1
  save()
  redis.call('DEL', place_key)
  return 0
end
if state.probe == 0 then
  local passed = math.max(0, math.min(now - state.at, 60000))
  local burst = math.max(1, state.rate / 5)
  state.credit = math.min(burst, state.credit + state.rate * passed / 1000)
  state.at = now
  if state.credit >= 1 then
    state.credit = state.credit - 1
    state.served = state.served + 1
    save()
    redis.call('DEL', place_key)
    return 0
  end
end
local place = tonumber(redis.call('GET', place_key))
if not place then
  state.tail = math.max(state.tail, state.served) + 1
  place = state.tail
end
save()
-- A long wait is looked at again after a third of it: the rate may have grown.
local wait = math.max(1, place - state.served) * 1000 / state.rate
wait = math.ceil(math.min(wait, 3000 + wait / 3))
redis.call('SET', place_key, string.format('%.0f', place), 'PX', wait + 60000)
return wait
