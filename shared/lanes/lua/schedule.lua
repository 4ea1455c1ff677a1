-- Scheduled events: they stand in no lane until they are due (due.lua), by the wall clock, since a
-- date is meant. They count as waiting.

-- How an event is listed: of those that are due at the same moment the first accepted comes first.
-- Tenant and lane are all that is known of it once its record is missing.
local function schedule_entry(order, id, tenant, lane)
  return string.format('%016d\n%s\n%s\n%s', order, id, tenant, lane)
end

local function is_later(at) return at and at > wall end

local function enter_schedule(queue, tenant, lane, id, at)
  local order = redis.call('INCR', PREFIX .. 'schedule_order')
  redis.call('HSET', PREFIX .. 'event:' .. id, 'state', 'scheduled', 'order', order, 'send_at', at)
  redis.call('ZADD', PREFIX .. 'scheduled:' .. queue, at, schedule_entry(order, id, tenant, lane))
end

local function leave_schedule(queue, tenant, lane, id)
  local order = redis.call('HGET', PREFIX .. 'event:' .. id, 'order')
  redis.call('ZREM', PREFIX .. 'scheduled:' .. queue, schedule_entry(order, id, tenant, lane))
end
