-- Takes the send slot of one message (pacing.py). All times are in ms, of the lanes' clock.
--
--   KEYS[1]  pace       when the integration's next slot begins; expires at that time
--   KEYS[2]  pace_slot  when the slot of this message begins; expires when the message missed it
--   KEYS[3]  clock      the clock of the lanes
--
--   ARGV[1]  pause until the slot after this one
--   ARGV[2]  grace: how late the message may come for its slot
--
-- Returns how long the message has to wait.

local _, now = read_clock(KEYS[3])
local pause = tonumber(ARGV[1])
local grace = tonumber(ARGV[2])

local slot = tonumber(redis.call('GET', KEYS[2]))
if not slot then
  slot = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
  redis.call('SET', KEYS[1], string.format('%.0f', slot + pause), 'PX', slot + pause - now)
  redis.call('SET', KEYS[2], string.format('%.0f', slot), 'PX', slot + grace - now)
end
return math.max(0, slot - now)
