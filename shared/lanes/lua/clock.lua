-- The clock of leases and delays, in ms. The time of Redis is its machine's wall clock, which steps.
--
-- `clock` (hash): what this clock showed (`lanes`) when the wall clock showed `wall`. From there on
-- it advances as the wall clock does, by MAX_GAP at most between two calls, and never back. So a
-- step ends no lease and prolongs no delay. The sweeper calls every second; after a longer gap (it
-- could not reach Redis) its own monotonic clock says how much time has passed.
--
-- Times that people read, and the age at which an event fails, are those of the wall clock.

local MAX_GAP = 2000
local STORE_EVERY = 250

local function read_clock(key)
  local time = redis.call('TIME')
  local wall = time[1] * 1000 + math.floor(time[2] / 1000)
  local stored = redis.call('HMGET', key, 'wall', 'lanes')
  if not stored[1] or not stored[2] then return wall, wall end
  local passed = wall - stored[1]
  local now = stored[2] + math.max(0, math.min(passed, MAX_GAP))
  return wall, now, math.abs(passed) < STORE_EVERY
end
