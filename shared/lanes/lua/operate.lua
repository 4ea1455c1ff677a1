-- The sweeper's and the operators' commands.

local function extend(args)
  local state = redis.call('HMGET', PREFIX .. 'lane:' .. args.lane .. ':state', 'where', 'fence')
  if state[1] ~= 'claimed' or state[2] ~= args.fence then return 'lost' end
  redis.call('ZADD', PREFIX .. 'leases:' .. args.queue, now + args.lease, args.lane)
  return 'ok'
end

-- The rotation is a list and a set of the same tenants. If either is missing, begin it anew.
local function mend_rotation(queue)
  local ring, members = PREFIX .. 'rr:tenants:' .. queue, PREFIX .. 'rr:tenants:set:' .. queue
  if redis.call('LLEN', ring) == redis.call('SCARD', members) then return end
  redis.call('DEL', ring, members)
  for _, tenant in ipairs(redis.call('HKEYS', PREFIX .. 'waiting:' .. queue)) do
    enter_rotation(queue, tenant)
  end
end

-- How many more events could be worked on now, as far as the bell has tokens for them.
local function count_workable(queue, levelled)
  local rotation = PREFIX .. 'rr:tenants:' .. queue
  local total = 0
  local free = count_free(queue)
  local tenants = redis.call('LRANGE', rotation, 0, BELL_CAP - 1)
  for _, tenant in ipairs(tenants) do
    local busy = count_busy(queue, tenant)
    local ready = count_lanes(queue, tenant, levelled)
    while ready > 0 and total < BELL_CAP and may_take(busy, free) do
      busy, free, ready, total = busy + 1, free - 1, ready - 1, total + 1
    end
  end
  return total + redis.call('LLEN', rotation) - #tenants
end

-- nil: what was claimed is missing, so that the claim ends here, and the lane goes on.
local function take_over(queue, lane, args)
  local id = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  local event = id and read_event(id)
  local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'tenant', 'fence',
    'high', 'low')
  local tenant = state[1] or find_tenant(lane)
  if not event or not is_claimed(event) then
    if event and not is_waiting(event) then drop_head(queue, tenant, lane, id, event) end
    release(queue, tenant, lane, 0, state[3], state[4])
    return nil
  end
  if event.version > args.knows then -- a newer sweeper's: this one cannot read it
    redis.call('ZADD', PREFIX .. 'leases:' .. queue, now + args.lease, lane)
    return nil
  end
  local record = PREFIX .. 'event:' .. id
  if event.fence == state[2] then -- a worker's, not an earlier sweeper's
    event.lost_leases = redis.call('HINCRBY', record, 'lost_leases', 1)
  end
  local fence = next_fence(math.max(tonumber(state[2] or 0), tonumber(event.fence or 0)))
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'claimed', 'fence', fence,
    'queue', queue, 'tenant', tenant)
  redis.call('ZADD', PREFIX .. 'leases:' .. queue, now + args.lease, lane)
  return describe(id, lane, fence, event)
end

-- A lane that is neither delayed nor gated was placed twice, because its state was missing.
local function end_due_delay(queue, lane)
  local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'tenant', 'gate',
    'high', 'low')
  end_delay(queue, lane, state[3])
  if not state[1] or state[1] == 'delayed' or state[1] == 'gated' then
    local level = find_level(lane, state[4], state[5])
    make_ready(queue, state[2] or find_tenant(lane), lane, level)
  end
end

-- Make ready what is due and take over claims whose lease has ended. The caller concludes what it
-- took over, under a lease of its own. The bell then has a token for each event that could be
-- worked on, so that lost tokens are replaced.
local function sweep_queue(queue, args)
  local delayed = PREFIX .. 'delayed:' .. queue
  local due_lanes = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, args.count)
  for _, lane in ipairs(due_lanes) do
    end_due_delay(queue, lane)
  end
  local scheduled = enter_all_due(queue, args.wall, args.count)
  local leases = PREFIX .. 'leases:' .. queue
  local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, args.count)
  local taken = {}
  for _, lane in ipairs(ended) do taken[#taken + 1] = take_over(queue, lane, args) end
  mend_rotation(queue)
  mend_newer_bells(queue)
  local levelled = mend_levels(queue)
  return_aside(queue)
  next_tenant(queue, count_free(queue)) -- those that stand in front in vain go aside again
  local workable = count_workable(queue, levelled)
  rung[queue] = workable - redis.call('LLEN', PREFIX .. 'bell:' .. queue)
  local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  local next_due = math.min(due[2] and due[2] - now or math.huge, scheduled or math.huge)
  local lost = redis.call('LRANGE', PREFIX .. 'lost:' .. queue, 0, args.count - 1)
  return {workable, next_due < math.huge and tostring(math.max(0, next_due)) or '-1', taken, lost}
end

-- Sweep queues. `at_least`: what the clock of the lanes must show by now, as the sweeper knows.
-- `wall`: its wall clock. `knows`: the newest version of events that it can read. Returns the time,
-- and what was found for each queue.
local function sweep(args)
  if args.at_least and args.at_least > now then now, is_stored = args.at_least, false end
  redis.call('SET', PREFIX .. 'last_sweep', wall)
  local swept = {}
  for i, queue in ipairs(args.queues) do swept[i] = sweep_queue(queue, args) end
  return {tostring(now), swept}
end

-- What was told of lost events is on its way to Supabase.
local function tell_lost(args)
  add_outcomes('', args.outcomes)
  for _, lost in ipairs(args.lost) do redis.call('LREM', PREFIX .. 'lost:' .. args.queue, 1, lost) end
end

-- Close a gate for `ms`. Gates with an earlier end leave the list of closed gates.
local function close_gate(args)
  redis.call('SET', PREFIX .. 'gate:' .. args.gate, args.reason, 'PX', args.ms)
  redis.call('ZREMRANGEBYSCORE', PREFIX .. 'gate_ends', '-inf', now)
  redis.call('ZADD', PREFIX .. 'gate_ends', now + args.ms, args.gate)
end

-- Release up to `count` lanes. `first`: open the gate. A gate that was closed since stays closed.
local function open_gate(args)
  local gate = PREFIX .. 'gate:' .. args.gate
  if args.first then
    redis.call('DEL', gate)
    redis.call('ZREM', PREFIX .. 'gate_ends', args.gate)
  end
  if redis.call('EXISTS', gate) == 1 then return 0 end
  local lanes = redis.call('SPOP', PREFIX .. 'gated:' .. args.gate, args.count)
  for _, lane in ipairs(lanes) do
    local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'gate',
      'queue', 'tenant', 'high', 'low')
    -- Without a state, the lane is due later.
    if state[1] == 'gated' and state[2] == args.gate then
      end_delay(state[3], lane, args.gate)
      make_ready(state[3], state[4], lane, find_level(lane, state[5], state[6]))
    end
  end
  return #lanes
end

-- An event whose effect was unknown is settled by a webhook or an operator, or goes out once more.
local function resolve(args)
  local record = PREFIX .. 'event:' .. args.id
  local event = read_record(args.id)
  local by = 'resolve' .. args.state
  if event.by == by then return 'ok' end -- this very call, again
  if event.state ~= 'unknown' or not event.lane or is_closed(event.tenant) then return 'lost' end
  add_outcomes(event.tenant, args.outcomes)
  leave_unknown(event.tenant, event.lane, args.id)
  if args.state == 'queued' then
    -- It may have gone out before: it must not end as failed.
    set_fields(args.id, args.fields)
    redis.call('HSET', record, 'state', 'queued', 'by', by, 'expires', wall + args.max_age,
      'resends', 1)
    redis.call('HDEL', record, 'settled', 'unexpected_errors', 'lost_leases')
    redis.call('PERSIST', record)
    enter_waiting(event.queue, event.tenant, event.bytes)
    push_event(event.queue, event.tenant, event.lane, args.id, 0, event.level)
  else
    event.state, event.settled, event.by = args.state, wall, by
    keep_record(args.id, event, args.fields, args.ttl)
  end
  return 'ok'
end

-- A failed event goes back as the last of its lane, as if new: earlier claims of it no longer
-- count. In a different state it is queued or done already.
local function replay(event)
  if is_closed(event.tenant) then return {'moved'} end
  local record = PREFIX .. 'event:' .. event.id
  local state = redis.call('HGET', record, 'state')
  if not state then return append_event(event, event) end
  if state ~= 'failed' then return {'same', state} end
  local bytes = #event.body + event.bytes_beside
  if not write_first('HSET', record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', event.gates,
    'expires', math.max(wall, event.at or 0) + event.max_age, 'attempts', 0, 'bytes', bytes)
  then
    return {'full', 'memory'}
  end
  redis.call('HDEL', record, 'settled', 'fence', 'by', 'reason', 'code', 'unexpected_errors',
    'resends', 'lost_leases', 'v')
  for piece = 1, PIECES - 1 do redis.call('HDEL', record, 'reason' .. piece) end
  redis.call('PERSIST', record)
  enter_waiting(event.queue, event.tenant, bytes)
  if event.level then redis.call('HSET', record, 'level', event.level) end
  if event.v then redis.call('HSET', record, 'v', event.v) end
  enter(event, 0)
  return {'new', is_later(event.at) and 'scheduled' or 'queued'}
end
