-- End claims: settle an event, or postpone it at the head of its lane. `keep`: how long records are
-- kept, and how many of events with an unknown effect (see main_exchange.lua).

local function release(queue, tenant, lane, delay)
  redis.call('ZREM', PREFIX .. 'leases:' .. queue, lane)
  if redis.call('HINCRBY', PREFIX .. 'busy:' .. queue, tenant, -1) <= 0 then
    redis.call('HDEL', PREFIX .. 'busy:' .. queue, tenant)
  end
  if not place_lane(queue, tenant, lane, delay) and enter_rotation(queue, tenant) then
    count_ready(queue)
  end
  return_aside(queue)
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

local function remove_from_lane(event, result)
  redis.call('LREM', PREFIX .. 'lane:' .. result.lane, 1, result.id)
  leave_waiting(event.queue, event.tenant, event.bytes)
end

local function settle(event, lane, result, keep)
  local claimed = event.state == 'claimed'
  local waited = (lane.where == 'delayed' or lane.where == 'gated')
    and redis.call('LINDEX', PREFIX .. 'lane:' .. result.lane, 0) == result.id
  if event.state == 'unknown' then
    leave_unknown(event.tenant, result.lane, result.id)
  else
    remove_from_lane(event, result)
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
  if claimed then
    release(event.queue, lane.tenant, result.lane)
  elseif waited then -- for a time or a gate of this event
    end_delay(event.queue, result.lane, lane.gate)
    place_lane(event.queue, lane.tenant, result.lane)
  end
  for _, follow in ipairs(result.follow or {}) do
    follow.outbox_limit = nil -- it was accepted with the event that it follows
    follow.waiting_limit = nil
    append_event(follow)
  end
end

-- `result`: id, lane, fence, state, fields, outcomes, follow; for state queued: delay (ms), and
-- `unstarted` for an event that is handed back before its handler began: that was no attempt.
local function conclude(result, keep)
  local record = PREFIX .. 'event:' .. result.id
  local event = read_record(result.id)
  local by = result.fence .. result.state
  if event.by == by then return 'ok' end -- this very call, again
  local state = PREFIX .. 'lane:' .. result.lane .. ':state'
  local h = redis.call('HMGET', state, 'where', 'fence', 'tenant', 'gate', 'queue')
  local lane = {where = h[1], fence = h[2], tenant = h[3] or event.tenant, gate = h[4]}
  if not event.state then
    event = {missing = true, state = lane.where, queue = h[5], tenant = lane.tenant}
  end
  if not may_conclude(event, lane, result) then return 'lost' end
  add_outcomes(event.tenant, result.outcomes)
  if result.state == 'queued' then
    set_fields(result.id, result.fields)
    redis.call('HSET', record, 'state', 'queued', 'by', by)
    if result.unstarted then
      redis.call('HINCRBY', record, 'attempts', -1)
    elseif event.fence == result.fence then -- its worker survived this attempt
      redis.call('HDEL', record, 'lost_leases')
    end
    release(event.queue, lane.tenant, result.lane, result.delay)
  else
    event.by = by
    settle(event, lane, result, keep)
  end
  return 'ok'
end
