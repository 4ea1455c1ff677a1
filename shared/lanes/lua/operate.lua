-- The sweeper's and the operators' commands.

local function extend(args)
  local state = redis.call('HMGET', PREFIX .. 'lane:' .. args.lane .. ':state', 'where', 'fence')
  if state[1] ~= 'claimed' or state[2] ~= args.fence then return 'lost' end
  redis.call('ZADD', PREFIX .. 'leases:' .. args.queue, now + args.lease, args.lane)
  return 'ok'
end

-- How many more events could be worked on now: ready lanes, at most the room of each tenant.
local function count_workable(args)
  local rotation = PREFIX .. 'rr:tenants:' .. args.queue
  local total = 0
  local tenants = redis.call('LRANGE', rotation, 0, 63)
  for _, tenant in ipairs(tenants) do
    local busy = tonumber(redis.call('HGET', PREFIX .. 'busy:' .. args.queue, tenant) or 0)
    local ready = redis.call('LLEN', PREFIX .. 'ready:' .. args.queue .. ':' .. tenant)
    total = total + math.max(0, math.min(args.max_inflight - busy, ready))
  end
  return total + redis.call('LLEN', rotation) - #tenants
end

local function take_over(lane, args)
  local fence = redis.call('INCR', PREFIX .. 'fence')
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'fence', fence)
  redis.call('ZADD', PREFIX .. 'leases:' .. args.queue, now + args.lease, lane)
  local id = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  return describe(id, lane, fence, read_event(id))
end

-- Make ready what is due and take over claims whose lease has ended. The caller concludes what it
-- took over, under a lease of its own. The bell then has a token for each event that could be
-- worked on, so that lost tokens are replaced.
local function sweep(args)
  local queue = args.queue
  local delayed = PREFIX .. 'delayed:' .. queue
  local due_lanes = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, args.count)
  for _, lane in ipairs(due_lanes) do
    local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'tenant', 'gate')
    end_delay(queue, lane, state[2])
    make_ready(queue, state[1], lane)
  end
  local leases = PREFIX .. 'leases:' .. queue
  local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, args.count)
  local taken = {}
  for i, lane in ipairs(ended) do taken[i] = take_over(lane, args) end
  redis.call('SET', PREFIX .. 'last_sweep', now)
  local workable = count_workable(args)
  rung[queue] = workable - redis.call('LLEN', PREFIX .. 'bell:' .. queue)
  local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  return {workable, due[2] and tostring(tonumber(due[2]) - now) or '-1', taken}
end

local function open_gate(args)
  redis.call('DEL', PREFIX .. 'gate:' .. args.gate)
  local lanes = redis.call('SPOP', PREFIX .. 'gated:' .. args.gate, 1000)
  for _, lane in ipairs(lanes) do
    local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'queue', 'tenant')
    end_delay(state[1], lane, args.gate)
    make_ready(state[1], state[2], lane)
  end
  return #lanes
end

-- An event whose effect was unknown is settled by a webhook or an operator, or goes out once more.
local function resolve(args)
  local record = PREFIX .. 'event:' .. args.id
  local h = redis.call('HMGET', record, 'state', 'queue', 'tenant', 'lane', 'by')
  if h[5] == 'resolve' .. args.state then return 'ok' end -- this very call, again
  if h[1] ~= 'unknown' then return 'lost' end
  set_fields(args.id, args.fields)
  add_outcomes(args.outcomes)
  redis.call('HSET', record, 'state', args.state, 'settled', now, 'by', 'resolve' .. args.state)
  redis.call('SREM', PREFIX .. 'unknown:' .. h[4], args.id)
  if args.state == 'queued' then
    -- It may have gone out before: it must not end as failed.
    redis.call('HSET', record, 'expires', now + args.max_age, 'resends', 1)
    redis.call('HDEL', record, 'settled', 'unexpected_errors')
    push_event(h[2], h[3], h[4], args.id, 0)
  else
    expire_record(args.id, args.ttl)
  end
  return 'ok'
end

-- A failed event goes back as the last of its lane, as if new: earlier claims of it no longer
-- count. In a different state it is queued or done already.
local function replay(event)
  local record = PREFIX .. 'event:' .. event.id
  local state = redis.call('HGET', record, 'state')
  if not state then return append_event(event) end
  if state ~= 'failed' then return {'same', state} end
  if not write_record(record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', table.concat(event.gates, ' '),
    'expires', now + event.max_age, 'attempts', 0)
  then
    return {'full', 'memory'}
  end
  redis.call('HDEL', record, 'settled', 'fence', 'by', 'reason', 'code', 'unexpected_errors',
    'resends')
  redis.call('PERSIST', record)
  push_event(event.queue, event.tenant, event.lane, event.id, 0)
  return {'new', 'queued'}
end
