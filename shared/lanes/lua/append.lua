-- Append an event to its lane, once.

-- Stand last in the lane; a lane that was empty becomes ready, or due after `delay` ms.
local function push_event(queue, tenant, lane, id, bytes, delay)
  redis.call('RPUSH', PREFIX .. 'lane:' .. lane, id)
  enter_waiting(queue, tenant, bytes)
  if redis.call('EXISTS', PREFIX .. 'lane:' .. lane .. ':state') == 1 then return end
  place_lane(queue, tenant, lane, delay)
end

-- Write a record first: false when the memory of Redis is full. Later writes of a script succeed.
local function write_record(record, ...)
  local reply = redis.pcall('HSET', record, ...)
  if type(reply) == 'number' then return true end
  if string.find(reply.err, 'OOM', 1, true) then return false end
  error(reply.err)
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
  if event.waiting_limit then
    local waiting = redis.call('HGET', PREFIX .. 'waiting:' .. event.queue, event.tenant)
    if tonumber(waiting or 0) >= event.waiting_limit then return {'full', 'waiting'} end
    local bytes = redis.call('HGET', PREFIX .. 'waiting_bytes:' .. event.queue, event.tenant)
    if tonumber(bytes or 0) >= event.waiting_bytes_limit then return {'full', 'bytes'} end
  end
  local bytes = #event.body + event.bytes_beside
  if not write_record(record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', table.concat(event.gates, ' '),
    'print', event.print, 'attempts', 0, 'accepted', wall, 'expires', wall + event.max_age,
    'bytes', bytes)
  then
    return {'full', 'memory'}
  end
  if event.delay > 0 then redis.call('HSET', record, 'due', now + event.delay) end
  push_event(event.queue, event.tenant, event.lane, event.id, bytes, event.delay)
  add_outcomes(event.outcomes)
  return {'new', 'queued'}
end
