-- Append an event to its lane, once.

-- The head of a lane waits its turn (workers/send/pacing.lua), and an event of high priority comes
-- behind it: the head is claimed now, since its turn may come sooner.
local function hurry(queue, lane)
  local head = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  if head and redis.call('HGET', PREFIX .. 'event:' .. head, 'earliest') then
    redis.call('ZADD', PREFIX .. 'delayed:' .. queue, 'XX', 'LT', now, lane)
  end
end

-- Stand last in the lane; a lane that was empty becomes ready, or due after `delay` ms.
local function push_event(queue, tenant, lane, id, delay, level)
  local count = redis.call('RPUSH', PREFIX .. 'lane:' .. lane, id)
  local state = PREFIX .. 'lane:' .. lane .. ':state'
  local h = redis.call('HMGET', state, 'where', 'high', 'low')
  local high, low = tonumber(h[2] or 0), tonumber(h[3] or 0)
  local before = h[1] == 'ready' and find_level(lane, high, low, count - 1)
  if level then redis.call('HINCRBY', state, level, 1) end
  if level == 'high' then high = high + 1 elseif level == 'low' then low = low + 1 end
  if h[1] and not before then
    if h[1] == 'delayed' and level == 'high' then hurry(queue, lane) end
    return
  end
  local level_now = find_level(lane, high, low, count)
  if before then
    -- Emptied by a late result, or since its events were cancelled, it may stand in any list.
    if count == 1 or level_now ~= before then raise_ready(queue, tenant, lane, level_now) end
  elseif delay > 0 then
    make_delayed(queue, tenant, lane, now + delay)
  else
    make_ready(queue, tenant, lane, level_now)
  end
end

-- Make the first write of a script: nil when the memory of Redis is full. Later writes succeed.
local function write_first(...)
  local reply = redis.pcall(...)
  if type(reply) == 'number' then return reply end
  if string.find(reply.err, 'OOM', 1, true) then return nil end
  error(reply.err)
end

-- Count an event that is about to wait. Where it may not, return which limit is reached.
local function reserve_room(event, bytes)
  local count = write_first('HINCRBY', PREFIX .. 'waiting:' .. event.queue, event.tenant, 1)
  if not count then return 'memory' end
  local total = PREFIX .. 'waiting_bytes:' .. event.queue
  local before = redis.call('HINCRBY', total, event.tenant, bytes) - bytes
  local limit = event.waiting_limit
  if not limit or (count <= limit and before < event.waiting_bytes_limit) then return nil end
  leave_waiting(event.queue, event.tenant, bytes)
  return count > limit and 'waiting' or 'bytes'
end

-- Schedule an event with a later date, or have it stand last in its lane.
local function enter(event, delay)
  if is_later(event.at) then
    enter_schedule(event.queue, event.tenant, event.lane, event.id, event.at)
  else
    push_event(event.queue, event.tenant, event.lane, event.id, delay, event.level)
  end
end

-- Records of an earlier version have the whole hash, or no hash but the identity of a webhook. Those
-- that were recalled from Supabase have none.
local function is_same(known, print)
  return print == '' or known == '' or known == print or string.sub(known, 1, 32) == print
end

local function append_event(event)
  local record = PREFIX .. 'event:' .. event.id
  local known = redis.call('HMGET', record, 'print', 'state')
  if known[1] then
    if not is_same(known[1], event.print) then return {'conflict'} end
    return {'same', known[2]}
  end
  if event.outbox_limit and count_outbox() >= event.outbox_limit then
    return {'full', 'outbox'}
  end
  local bytes = #event.body + event.bytes_beside
  local limit = reserve_room(event, bytes)
  if limit then return {'full', limit} end
  local later = is_later(event.at)
  redis.call('HSET', record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', table.concat(event.gates, ' '),
    'print', event.print, 'attempts', 0, 'accepted', wall,
    'expires', (later and event.at or wall) + event.max_age, 'bytes', bytes)
  if event.delay > 0 then redis.call('HSET', record, 'due', now + event.delay) end
  if event.level then redis.call('HSET', record, 'level', event.level) end
  if event.v then redis.call('HSET', record, 'v', event.v) end
  enter(event, event.delay)
  add_outcomes(event.tenant, event.outcomes)
  return {'new', later and 'scheduled' or 'queued'}
end
