-- Append an event to its lane, once.

-- Stand last in the lane; a lane that was empty becomes ready, or due after `delay` ms.
local function push_event(queue, tenant, lane, id, delay)
  redis.call('RPUSH', PREFIX .. 'lane:' .. lane, id)
  if redis.call('EXISTS', PREFIX .. 'lane:' .. lane .. ':state') == 1 then return end
  place_lane(queue, tenant, lane, delay)
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

-- Records of an earlier version have the whole hash, or no hash but the identity of a webhook.
local function is_same(known, print)
  return print == '' or known == print or string.sub(known, 1, 32) == print
end

local function append_event(event)
  local record = PREFIX .. 'event:' .. event.id
  local known = redis.call('HMGET', record, 'print', 'state')
  if known[1] then
    if not is_same(known[1], event.print) then return {'conflict'} end
    return {'same', known[2]}
  end
  if event.outbox_limit and redis.call('XLEN', PREFIX .. 'outbox') >= event.outbox_limit then
    return {'full', 'outbox'}
  end
  local bytes = #event.body + event.bytes_beside
  local limit = reserve_room(event, bytes)
  if limit then return {'full', limit} end
  redis.call('HSET', record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', table.concat(event.gates, ' '),
    'print', event.print, 'attempts', 0, 'accepted', wall, 'expires', wall + event.max_age,
    'bytes', bytes)
  if event.delay > 0 then redis.call('HSET', record, 'due', now + event.delay) end
  push_event(event.queue, event.tenant, event.lane, event.id, event.delay)
  add_outcomes(event.tenant, event.outcomes)
  return {'new', 'queued'}
end
