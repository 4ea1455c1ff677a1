-- Pacing of one number (pacing.py): when an event may leave. TIME is the server's; all times in ms.
--
--   KEYS[1]  pace       when the number's next slot begins; gone when that is past
--   KEYS[2]  pace_slot  when the slot begins that this event has; gone when it has missed it
--
-- ARGV: the pause after this slot, how late an event may be for its own. Returns how long to wait.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local pause, late = tonumber(ARGV[1]), tonumber(ARGV[2])

local slot = tonumber(redis.call('GET', KEYS[2]))
if not slot then
  slot = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
  redis.call('SET', KEYS[1], string.format('%.0f', slot + pause), 'PX', slot + pause - now)
  redis.call('SET', KEYS[2], string.format('%.0f', slot), 'PX', slot + late - now)
end
return math.max(0, slot - now)
