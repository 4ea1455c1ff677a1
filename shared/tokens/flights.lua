-- Single flight for the token of one account (flights.py). KEYS[1] = wpp:token:{account}; the braces keep all its keys in one slot.
--
--   KEYS[1]        hash: value gen; exp soft hard, by this server's clock in ms; dead = SHA-1 of the last refused value.
--                  It expires with its token. A dropped token leaves gen behind, so that an older flight stays fenced.
--   :lease         "owner:fence", PX: who asks the platform now. Longer than the mint's deadline.
--   :fence         the highest fence given out. Losing it is harmless: a fence is never below this server's clock.
--   :refused       why the platform refused the account's key, PX
--   :pause         "failures:until_ms": do not ask before; PX
--   :bell:<fence>  one element, PX 30 s: this flight has landed. Waiters BLMOVE it onto itself: it stays, so all of them
--                  wake, and one who comes late does not miss it.
--
-- ARGV[1] names the operation; its other arguments are described there. Times are in ms.

local K, op = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stored = redis.call('HMGET', K, 'value', 'gen', 'exp', 'soft', 'hard', 'dead')
local gen = tonumber(stored[2] or 0)

local function pause_left()
  local at = redis.call('GET', K .. ':pause')
  return at and math.max(0, tonumber(string.match(at, ':(%d+)$')) - now) or 0
end

local function next_fence()
  local fence = math.max(tonumber(redis.call('GET', K .. ':fence') or 0) + 1, gen + 1, now)
  redis.call('SET', K .. ':fence', string.format('%.0f', fence), 'PX', 86400000)
  return fence
end

local function elect(owner, lease)
  local fence = next_fence()
  redis.call('SET', K .. ':lease', owner .. ':' .. string.format('%.0f', fence), 'PX', lease)
  return fence
end

local function publish(fence, value, life, soft, hard)
  redis.call('HSET', K, 'value', value, 'gen', string.format('%.0f', fence), 'exp', string.format('%.0f', now + life),
    'soft', string.format('%.0f', now + soft), 'hard', string.format('%.0f', now + hard))
  redis.call('PEXPIRE', K, life)
  redis.call('DEL', K .. ':refused', K .. ':pause')
end

-- get owner lease not_gen may_mint may_ahead -> what to do now, in one round trip
if op == 'get' then
  local owner, lease, not_gen = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local may_mint, may_ahead = ARGV[5] == '1', ARGV[6] == '1'
  local holder = redis.call('GET', K .. ':lease')
  local refused = redis.call('GET', K .. ':refused')
  local pause = pause_left()
  if stored[1] and gen ~= not_gen and now < tonumber(stored[5]) then
    local exp, soft, hard = tonumber(stored[3]), tonumber(stored[4]), tonumber(stored[5])
    local fence = 0
    if now >= soft and may_ahead and not holder and not refused and pause == 0 then fence = elect(owner, lease) end
    return {'use', stored[1], gen, exp - now, hard - now, math.max(0, soft - now), fence}
  end
  if refused then return {'refused', refused, redis.call('PTTL', K .. ':refused')} end
  if holder then return {'wait', string.match(holder, ':(%d+)$'), redis.call('PTTL', K .. ':lease')} end
  if pause > 0 then return {'pause', pause} end
  if not may_mint then return {'late'} end
  return {'mint', elect(owner, lease), stored[6] or ''}
end

-- land owner fence kind ... -> 1 when it counted. Ends a flight, however it went, and rings its bell.
--   ok value life soft hard     fail delay longest     refuse reason for
if op == 'land' then
  local mine, fence, kind = ARGV[2] .. ':' .. ARGV[3], tonumber(ARGV[3]), ARGV[4]
  local held, counted = redis.call('GET', K .. ':lease') == mine, 1
  if kind == 'ok' then
    -- fenced: a younger flight, or a repaired key, has published
    if gen >= fence then counted = 0 else publish(fence, ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]) end
  elseif not held then counted = 0 -- a failure told by one who has lost the lease changes nothing
  elseif kind == 'refuse' then redis.call('SET', K .. ':refused', ARGV[5], 'PX', ARGV[6])
  else
    local before = redis.call('GET', K .. ':pause')
    local failures = (before and tonumber(string.match(before, '^(%d+)')) or 0) + 1
    local delay = math.min(tonumber(ARGV[6]), tonumber(ARGV[5]) * 2 ^ math.min(failures - 1, 16))
    redis.call('SET', K .. ':pause', string.format('%.0f:%.0f', failures, now + delay), 'PX', math.ceil(delay) + 60000)
  end
  if held then redis.call('DEL', K .. ':lease') end
  local bell = K .. ':bell:' .. ARGV[3]
  redis.call('DEL', bell)
  redis.call('RPUSH', bell, kind)
  redis.call('PEXPIRE', bell, 30000)
  return counted
end

-- adopt value life soft hard -> its generation. A token that was got elsewhere; flights under way are fenced off.
if op == 'adopt' then
  local fence = next_fence()
  publish(fence, ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5])
  redis.call('DEL', K .. ':lease')
  return fence
end

-- drop gen -> 1 when this call removed it, 0 when it was no longer the stored one
if op == 'drop' then
  if not stored[1] or gen ~= tonumber(ARGV[2]) then return 0 end
  redis.call('HSET', K, 'dead', redis.sha1hex(stored[1]))
  redis.call('HDEL', K, 'value', 'exp', 'soft', 'hard')
  return 1
end

-- forget: the account's key was repaired. A flight with the old key may land, but its refusal no longer counts.
if op == 'forget' then
  return redis.call('DEL', K .. ':refused', K .. ':pause', K .. ':lease')
end

return redis.error_reply('unknown operation ' .. op)
