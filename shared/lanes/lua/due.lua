-- Put scheduled events that are due into their lanes.

local function enter_due(queue, entry)
  redis.call('ZREM', PREFIX .. 'scheduled:' .. queue, entry)
  local id, tenant, lane = string.match(entry, '^%d+\n([^\n]*)\n([^\n]*)\n(.*)$')
  local record = PREFIX .. 'event:' .. id
  local h = redis.call('HMGET', record, 'state', 'level')
  if h[1] == 'scheduled' then
    redis.call('HSET', record, 'state', 'queued')
    push_event(queue, tenant, lane, id, 0, h[2])
  elseif not h[1] then
    leave_waiting(queue, tenant)
    report_lost(queue, tenant, lane, id, 'record missing')
    redis.call('HINCRBY', PREFIX .. 'lost_events', queue, 1)
  end
end

-- Put up to `count` events into their lanes, each as the last. Both Redis' clock and the sweeper's
-- (`clock`) must say that they are due: a clock that is fast sends nothing too early. Returns the
-- ms until the next one is due; nil: none is scheduled.
local function enter_all_due(queue, clock, count)
  local key = PREFIX .. 'scheduled:' .. queue
  local until_ms = math.min(wall, clock or wall)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) <= until_ms then
    local due = redis.call('ZRANGEBYSCORE', key, '-inf', until_ms, 'LIMIT', 0, count)
    for _, entry in ipairs(due) do enter_due(queue, entry) end
    first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  end
  return first[2] and first[2] - until_ms
end
