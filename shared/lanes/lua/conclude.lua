-- End claims: settle an event, or postpone it at the head of its lane. `keep`: how long records are
-- kept, and how many of events with an unknown effect (see main_exchange.lua).

local function release(queue, tenant, lane, delay, high, low)
  redis.call('ZREM', PREFIX .. 'leases:' .. queue, lane)
  if redis.call('HINCRBY', PREFIX .. 'busy:' .. queue, tenant, -1) <= 0 then
    redis.call('HDEL', PREFIX .. 'busy:' .. queue, tenant)
  end
  if not place_lane(queue, tenant, lane, delay, high, low) and enter_rotation(queue, tenant) then
    count_ready(queue)
  end
  freed[queue] = true
end

-- The holder of the last claim may conclude an event. So may the sweeper that took over an ended
-- lease. A late result of an event that was taken over (it is `unknown`, or waits to be tried
-- again) counts, except for a late `unknown`. Of a claimed event whose record is missing, an end
-- counts: its outcomes are all that is left.
local function may_conclude(event, lane, result)
  if event.missing then
    return lane.where == 'claimed' and lane.fence == result.fence and result.state ~= 'queued'
      and redis.call('LINDEX', PREFIX .. 'lane:' .. result.lane, 0) == result.id
  end
  if event.state == 'claimed' then
    return event.fence == result.fence or lane.fence == result.fence
  end
  if event.fence ~= result.fence then return false end
  if result.state == 'queued' or result.state == 'unknown' then return false end
  return event.state == 'queued' or event.state == 'unknown'
end

-- `lane`: what its state says; it counts the event no more.
local function remove_from_lane(event, lane, name, id)
  redis.call('LREM', PREFIX .. 'lane:' .. name, 1, id)
  if event.level then lane[event.level] = uncount_level(name, event.level) end
  leave_waiting(event.queue, event.tenant, event.bytes)
end

local NO_LIMITS = {}

-- Appends that follow a settled event: they were accepted with it.
local function append_following(result)
  for _, follow in ipairs(result.follow or {}) do
    append_event(follow, NO_LIMITS)
  end
end

-- Settle events that were handled under the claim of one before them (`read_following`), each as
-- long as it is the next of the lane and waits; the others are claimed later. Returns how many.
local function settle_run(lane, result, keep)
  for i, each in ipairs(result.run) do
    local event = read_record(each.id)
    local head = redis.call('LINDEX', PREFIX .. 'lane:' .. result.lane, 0)
    if head ~= each.id or event.state ~= 'queued' then return i - 1 end
    add_outcomes(event.tenant, each.outcomes)
    remove_from_lane(event, lane, result.lane, each.id)
    event.state, event.settled, event.by = each.state, wall, result.fence .. each.state
    event.attempts = event.attempts + 1
    keep_record(each.id, event, each.fields, keep.ttl)
    append_following(each)
  end
  return #result.run
end

-- How many events of a run the first call of this result has settled.
local function count_settled(result)
  for i, each in ipairs(result.run or {}) do
    if read_record(each.id).by ~= result.fence .. each.state then return i - 1 end
  end
  return #(result.run or {})
end

-- Returns how many of the events behind it ended as well.
local function settle(event, lane, result, keep)
  local claimed = event.state == 'claimed'
  local waited = (lane.where == 'delayed' or lane.where == 'gated')
    and redis.call('LINDEX', PREFIX .. 'lane:' .. result.lane, 0) == result.id
  if event.state == 'unknown' then
    leave_unknown(event.tenant, result.lane, result.id)
  else
    remove_from_lane(event, lane, result.lane, result.id)
  end
  if result.state == 'unknown' and not event.missing then
    set_fields(result.id, result.fields)
    redis.call('HSET', PREFIX .. 'event:' .. result.id, 'state', 'unknown', 'by', event.by,
      'settled', wall)
    enter_unknown(event.tenant, result.lane, result.id, keep)
  elseif not event.missing then
    event.state, event.settled = result.state, wall
    keep_record(result.id, event, result.fields, keep.ttl)
  end
  local run = 0
  if claimed and result.run and lane.fence == result.fence then
    run = settle_run(lane, result, keep)
  end
  if claimed then
    release(event.queue, lane.tenant, result.lane, 0, lane.high, lane.low)
  elseif waited then -- for a time or a gate of this event
    end_delay(event.queue, result.lane, lane.gate)
    place_lane(event.queue, lane.tenant, result.lane, 0, lane.high, lane.low)
  end
  append_following(result)
  return run
end

-- `result`: id, lane, fence, state, fields, outcomes, follow; for state queued: delay (ms), and
-- `unstarted` for an event that is handed back before its handler began: that was no attempt. `run`:
-- results (id, state, fields, outcomes, follow) of the events behind it that were handled with it.
-- Returns 'ok' or 'lost', and how many of the run ended.
local function conclude(result, keep)
  local record = PREFIX .. 'event:' .. result.id
  local event = read_record(result.id)
  local by = result.fence .. result.state
  if event.by == by then return 'ok', count_settled(result) end -- this very call, again
  local state = PREFIX .. 'lane:' .. result.lane .. ':state'
  local h = redis.call('HMGET', state, 'where', 'fence', 'tenant', 'gate', 'queue', 'high', 'low',
    'twice')
  local lane = {where = h[1], fence = h[2], tenant = h[3] or event.tenant, gate = h[4],
    high = h[6], low = h[7], twice = h[8]}
  if not event.state then
    event = {missing = true, state = lane.where, queue = h[5], tenant = lane.tenant}
  end
  if not may_conclude(event, lane, result) then return 'lost', 0 end
  add_outcomes(event.tenant, result.outcomes)
  if result.state == 'queued' then
    set_fields(result.id, result.fields)
    redis.call('HSET', record, 'state', 'queued', 'by', by)
    if lane.twice then redis.call('HSET', record, 'due', now + result.delay) end
    if result.unstarted then
      redis.call('HINCRBY', record, 'attempts', -1)
    elseif event.fence == result.fence then -- its worker survived this attempt
      redis.call('HDEL', record, 'lost_leases')
    end
    release(event.queue, lane.tenant, result.lane, result.delay, lane.high, lane.low)
  else
    event.by = by
    return 'ok', settle(event, lane, result, keep)
  end
  return 'ok', 0
end
