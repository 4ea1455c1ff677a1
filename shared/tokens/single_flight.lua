-- Single flight for the token of an account (single_flight.py).
-- KEYS[1] = wpp:token:{account}; the braces put all keys of an account into the same hash slot.
--
--   KEYS[1]        hash: value, generation; published_at, expires_at, refresh_at, usable_until in
--                  ms of this server's clock; is_rejected = the platform rejected the last value;
--                  rejections = how many in a row, each soon after its token was published.
--                  The hash expires with its token. A rejected token leaves its generation behind,
--                  so that an older flight stays fenced.
--   :lease         "owner:fence:request", PX: who fetches the token now. The lease is longer than
--                  the deadline of a flight.
--   :fence         the highest fence given out. Losing this key is harmless, because a fence is
--                  never below this server's clock.
--   :refused       why the platform refused the account's API key, PX
--   :api_key       the API key, encrypted (key_cache.py)
--   :pause         "failures:until_ms": no request before that time; PX
--   :bell:<fence>  a single element, PX 30 s: the flight has finished. Waiters BLMOVE the element
--                  onto itself. It stays, so that all waiters wake, late waiters too.
--
-- ARGV[1] is the operation; a comment at each operation lists its arguments. Times are in ms.
-- A client may repeat an operation after a lost reply: the repetition returns the same result, or
-- a harmless result.

local key, operation = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local names = {
  'value', 'generation', 'published_at', 'expires_at', 'refresh_at', 'usable_until',
  'is_rejected', 'rejections',
}
local stored = {}
for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do stored[names[i]] = value end
local generation = tonumber(stored.generation or 0)

local function format_ms(number) return string.format('%.0f', number) end

local function pause_left()
  local pause = redis.call('GET', key .. ':pause')
  return pause and math.max(0, tonumber(string.match(pause, ':(%d+)$')) - now) or 0
end

-- A full Redis refuses a script if its first write needs memory; a DEL as first write passes.
-- Tokens are few, and without a token no message is sent that would free memory.
local function allow_writes_when_full() redis.call('DEL', key .. ':nothing') end

local function elect(owner, request, lease)
  allow_writes_when_full()
  local last_fence = tonumber(redis.call('GET', key .. ':fence') or 0)
  local fence = math.max(last_fence + 1, generation + 1, now)
  redis.call('SET', key .. ':fence', format_ms(fence), 'PX', 86400000)
  local holder = owner .. ':' .. format_ms(fence) .. ':' .. request
  redis.call('SET', key .. ':lease', holder, 'PX', lease)
  return fence
end

-- Returns owner, fence and request of the lease, or nothing.
local function lease_holder()
  return string.match(redis.call('GET', key .. ':lease') or '', '^(%w+):(%d+):(%d+)$')
end

local function publish(fence, value, lifetime, refresh_in, usable_for)
  -- The platform returned the token that is stored already: an early refresh would be in vain.
  if stored.value == value then refresh_in = usable_for end
  redis.call('HSET', key, 'value', value, 'generation', format_ms(fence),
    'published_at', format_ms(now), 'expires_at', format_ms(now + lifetime),
    'refresh_at', format_ms(now + refresh_in), 'usable_until', format_ms(now + usable_for))
  redis.call('HDEL', key, 'is_rejected')
  redis.call('PEXPIRE', key, format_ms(lifetime))
  redis.call('DEL', key .. ':refused', key .. ':pause')
end

-- request owner request lease unwanted_generation may_mint may_refresh -> what to do now
if operation == 'request' then
  local owner, request, lease, unwanted = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
  local may_mint, may_refresh = ARGV[6] == '1', ARGV[7] == '1'
  local lease_owner, lease_fence, lease_request = lease_holder()
  -- elected by this very request; its reply was lost
  local is_elected = lease_owner == owner and lease_request == request
  local refusal = redis.call('GET', key .. ':refused')
  local pause = pause_left()
  if stored.value and generation ~= unwanted and now < tonumber(stored.usable_until) then
    local expires_at, refresh_at = tonumber(stored.expires_at), tonumber(stored.refresh_at)
    local usable_until = tonumber(stored.usable_until)
    local fence = is_elected and tonumber(lease_fence) or 0
    local is_free = not lease_owner and not refusal and pause == 0
    if now >= refresh_at and may_refresh and is_free then fence = elect(owner, request, lease) end
    return { 'cached', stored.value, generation, expires_at - now, usable_until - now,
      math.max(0, refresh_at - now), fence }
  end
  local is_rejected = tonumber(stored.is_rejected or 0)
  if is_elected then return { 'elected', tonumber(lease_fence), is_rejected } end
  if refusal then return { 'refused', refusal, redis.call('PTTL', key .. ':refused') } end
  if lease_owner then
    return { 'in_progress', lease_fence, redis.call('PTTL', key .. ':lease') }
  end
  if pause > 0 then return { 'paused', pause } end
  if not may_mint then return { 'unavailable' } end
  return { 'elected', elect(owner, request, lease), is_rejected }
end

-- take_over owner request lease -> fence. The account has a new API key: the state of the old key
-- is cleared, its flights are fenced off, and only the caller requests a token until it finishes.
if operation == 'take_over' then
  redis.call('DEL', key .. ':refused', key .. ':pause', key .. ':api_key')
  redis.call('HDEL', key, 'rejections')
  return elect(ARGV[2], ARGV[3], ARGV[4])
end

-- finish owner fence result ... -> 1 when the result counted. Ends a flight and rings its bell.
--   token value lease lifetime refresh_in usable_for
--   failure delay max_delay
--   refusal reason duration
if operation == 'finish' then
  allow_writes_when_full()
  local owner, fence, result = ARGV[2], tonumber(ARGV[3]), ARGV[4]
  local lease_owner, lease_fence = lease_holder()
  local holds_lease, counted = lease_owner == owner and lease_fence == ARGV[3], 1
  if result == 'token' then
    local value, lease = ARGV[5], tonumber(ARGV[6])
    -- The lifetime began when the platform answered. A process that froze since then cannot know
    -- how long, but the fence is the time when its flight began.
    local frozen = math.max(0, now - fence - lease)
    local lifetime, refresh_in, usable_for = ARGV[7] - frozen, ARGV[8] - frozen, ARGV[9] - frozen
    if generation == fence and stored.value == value then
      counted = 1 -- the reply to this operation was lost
    elseif generation >= fence or lifetime <= 0 then
      counted = 0 -- fenced off by a later flight
    else
      publish(fence, value, lifetime, refresh_in, usable_for)
    end
  elseif not holds_lease then
    counted = 0 -- a failure without the lease changes nothing
  elseif result == 'refusal' then
    redis.call('SET', key .. ':refused', ARGV[5], 'PX', ARGV[6])
  else
    local before = redis.call('GET', key .. ':pause')
    local failures = (before and tonumber(string.match(before, '^(%d+)')) or 0) + 1
    local backoff = tonumber(ARGV[5]) * 2 ^ math.min(failures - 1, 16)
    local delay = math.min(tonumber(ARGV[6]), backoff)
    local pause = format_ms(failures) .. ':' .. format_ms(now + delay)
    redis.call('SET', key .. ':pause', pause, 'PX', math.ceil(delay) + 60000)
  end
  if holds_lease then redis.call('DEL', key .. ':lease') end
  local bell = key .. ':bell:' .. ARGV[3]
  redis.call('DEL', bell)
  redis.call('RPUSH', bell, result)
  redis.call('PEXPIRE', bell, 30000)
  return counted
end

-- reject generation min_age pause max_pause -> 1 when this call removed the token, 0 when another
-- generation is stored. The second token in a row that is rejected before `min_age` pauses the
-- account; each further rejection doubles the pause.
if operation == 'reject' then
  allow_writes_when_full()
  if not stored.value or generation ~= tonumber(ARGV[2]) then return 0 end
  local age = now - tonumber(stored.published_at or 0)
  local rejections = age < tonumber(ARGV[3]) and tonumber(stored.rejections or 0) + 1 or 1
  redis.call('HSET', key, 'is_rejected', 1, 'rejections', rejections)
  redis.call('HDEL', key, 'value', 'published_at', 'expires_at', 'refresh_at', 'usable_until')
  if rejections > 1 then
    local backoff = tonumber(ARGV[4]) * 2 ^ math.min(rejections - 2, 16)
    local delay = math.min(tonumber(ARGV[5]), backoff)
    local pause = '0:' .. format_ms(now + math.max(delay, pause_left()))
    redis.call('SET', key .. ':pause', pause, 'PX', format_ms(delay + 60000))
  end
  return 1
end

return redis.error_reply('unknown operation ' .. operation)
