-- Single flight for the token of one account (single_flight.py). KEYS[1] = wpp:token:{account}; the braces keep all its keys in one slot.
--
--   KEYS[1]        hash: value gen; at exp soft hard, by this server's clock in ms; dropped = the last value was refused,
--                  strikes = how many in a row, each soon after it came.
--                  It expires with its token. A dropped token leaves gen behind, so that an older flight stays fenced.
--   :lease         "owner:fence:ask", PX: who asks the platform now. Longer than a flight's deadline.
--   :fence         the highest fence given out. Losing it is harmless: a fence is never below this server's clock.
--   :refused       why the platform refused the account's key, PX
--   :pause         "failures:until_ms": do not ask before; PX
--   :bell:<fence>  one element, PX 30 s: this flight has landed. Waiters BLMOVE it onto itself: it stays, so all of them
--                  wake, and one who comes late does not miss it.
--
-- ARGV[1] names the operation; its other arguments are described there. Times are in ms. A reply may be lost and its
-- operation repeated: each gives the same answer again, or one that does no harm.

local K, op = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stored = redis.call('HMGET', K, 'value', 'gen', 'exp', 'soft', 'hard', 'at', 'dropped', 'strikes')
local gen = tonumber(stored[2] or 0)

local function ms(number) return string.format('%.0f', number) end

local function pause_left()
  local at = redis.call('GET', K .. ':pause')
  return at and math.max(0, tonumber(string.match(at, ':(%d+)$')) - now) or 0
end

-- A full Redis refuses a script whose first write asks for memory. Tokens are few, and without one nothing would go out
-- that makes room again.
local function make_room() redis.call('DEL', K .. ':nothing') end

local function elect(owner, ask, lease)
  make_room()
  local fence = math.max(tonumber(redis.call('GET', K .. ':fence') or 0) + 1, gen + 1, now)
  redis.call('SET', K .. ':fence', ms(fence), 'PX', 86400000)
  redis.call('SET', K .. ':lease', owner .. ':' .. ms(fence) .. ':' .. ask, 'PX', lease)
  return fence
end

-- Who holds the lease: owner, fence, ask; or nothing.
local function holder()
  return string.match(redis.call('GET', K .. ':lease') or '', '^(%w+):(%d+):(%d+)$')
end

local function publish(fence, value, life, soft, hard)
  -- the very token that is there: asking for another one early is in vain
  if stored[1] == value then soft = hard end
  redis.call('HSET', K, 'value', value, 'gen', ms(fence), 'at', ms(now), 'exp', ms(now + life), 'soft', ms(now + soft),
    'hard', ms(now + hard))
  redis.call('HDEL', K, 'dropped')
  redis.call('PEXPIRE', K, ms(life))
  redis.call('DEL', K .. ':refused', K .. ':pause')
end

-- get owner ask lease not_gen may_mint may_ahead -> what to do now, in one round trip
if op == 'get' then
  local owner, ask, lease, not_gen = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
  local may_mint, may_ahead = ARGV[6] == '1', ARGV[7] == '1'
  local held_by, held_fence, held_ask = holder()
  local elected = held_by == owner and held_ask == ask -- by this very ask, whose reply was lost
  local refused = redis.call('GET', K .. ':refused')
  local pause = pause_left()
  if stored[1] and gen ~= not_gen and now < tonumber(stored[5]) then
    local exp, soft, hard = tonumber(stored[3]), tonumber(stored[4]), tonumber(stored[5])
    local fence = elected and tonumber(held_fence) or 0
    if now >= soft and may_ahead and not held_by and not refused and pause == 0 then fence = elect(owner, ask, lease) end
    return {'use', stored[1], gen, exp - now, hard - now, math.max(0, soft - now), fence}
  end
  if elected then return {'mint', tonumber(held_fence), tonumber(stored[7] or 0)} end
  if refused then return {'refused', refused, redis.call('PTTL', K .. ':refused')} end
  if held_by then return {'wait', held_fence, redis.call('PTTL', K .. ':lease')} end
  if pause > 0 then return {'pause', pause} end
  if not may_mint then return {'late'} end
  return {'mint', elect(owner, ask, lease), tonumber(stored[7] or 0)}
end

-- begin owner ask lease -> fence. The account has a new key: whatever is known of the old one is forgotten, its flights
-- are fenced off, and nobody asks with the new one but the caller, who lands.
if op == 'begin' then
  redis.call('DEL', K .. ':refused', K .. ':pause')
  redis.call('HDEL', K, 'strikes')
  return elect(ARGV[2], ARGV[3], ARGV[4])
end

-- land owner fence kind ... -> 1 when it counted. Ends a flight, however it went, and rings its bell.
--   ok value lease life soft hard     fail delay longest     refuse reason for
if op == 'land' then
  make_room()
  local owner, fence, kind = ARGV[2], tonumber(ARGV[3]), ARGV[4]
  local held_by, held_fence = holder()
  local held, counted = held_by == owner and held_fence == ARGV[3], 1
  if kind == 'ok' then
    local value, lease = ARGV[5], tonumber(ARGV[6])
    -- the life told began when the platform answered; who froze since then cannot know, but the fence tells when it began
    local frozen = math.max(0, now - fence - lease)
    local life, soft, hard = ARGV[7] - frozen, ARGV[8] - frozen, ARGV[9] - frozen
    if gen == fence and stored[1] == value then counted = 1 -- the reply to this landing was lost
    elseif gen >= fence or life <= 0 then counted = 0 -- fenced: a younger flight, or a repaired key, has published
    else publish(fence, value, life, soft, hard) end
  elseif not held then counted = 0 -- a failure told by one who has lost the lease changes nothing
  elseif kind == 'refuse' then redis.call('SET', K .. ':refused', ARGV[5], 'PX', ARGV[6])
  else
    local before = redis.call('GET', K .. ':pause')
    local failures = (before and tonumber(string.match(before, '^(%d+)')) or 0) + 1
    local delay = math.min(tonumber(ARGV[6]), tonumber(ARGV[5]) * 2 ^ math.min(failures - 1, 16))
    redis.call('SET', K .. ':pause', ms(failures) .. ':' .. ms(now + delay), 'PX', math.ceil(delay) + 60000)
  end
  if held then redis.call('DEL', K .. ':lease') end
  local bell = K .. ':bell:' .. ARGV[3]
  redis.call('DEL', bell)
  redis.call('RPUSH', bell, kind)
  redis.call('PEXPIRE', bell, 30000)
  return counted
end

-- drop gen young pause longest -> 1 when this call removed it, 0 when it was no longer the stored one. The second token
-- in a row that was refused while it was young pauses the account, each further one for twice as long.
if op == 'drop' then
  make_room()
  if not stored[1] or gen ~= tonumber(ARGV[2]) then return 0 end
  local strikes = now - tonumber(stored[6] or 0) < tonumber(ARGV[3]) and tonumber(stored[8] or 0) + 1 or 1
  redis.call('HSET', K, 'dropped', 1, 'strikes', strikes)
  redis.call('HDEL', K, 'value', 'at', 'exp', 'soft', 'hard')
  if strikes > 1 then
    local delay = math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) * 2 ^ math.min(strikes - 2, 16))
    redis.call('SET', K .. ':pause', '0:' .. ms(now + math.max(delay, pause_left())), 'PX', ms(delay + 60000))
  end
  return 1
end

return redis.error_reply('unknown operation ' .. op)
