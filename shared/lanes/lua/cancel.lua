-- Cancel an event that waits: no handler ever begins it. What it was is kept as of any settled event.

local function leave_lane(event, id)
  local h = redis.call('HMGET', PREFIX .. 'lane:' .. event.lane .. ':state', 'where', 'tenant',
    'gate', 'high', 'low')
  local lane = {where = h[1], tenant = h[2] or event.tenant, gate = h[3], high = h[4], low = h[5]}
  local waited = (lane.where == 'delayed' or lane.where == 'gated')
    and redis.call('LINDEX', PREFIX .. 'lane:' .. event.lane, 0) == id
  remove_from_lane(event, lane, event.lane, id)
  if waited then -- for a time or a gate of this event
    end_delay(event.queue, event.lane, lane.gate)
    place_lane(event.queue, lane.tenant, event.lane, 0, lane.high, lane.low)
  end
end

-- Returns 'ok', or 'same' if it was cancelled before, or else what became of it: 'missing', its
-- state, 'resent' if it goes out once more although it may have gone out already, or 'begun' if a
-- part of it went out.
local function cancel(args)
  local event = read_record(args.id)
  if event.tenant ~= args.tenant or event.queue ~= args.queue then return 'missing' end
  if event.state == 'cancelled' then return 'same' end
  if event.state ~= 'scheduled' and event.state ~= 'queued' then return event.state end
  if is_closed(event.tenant) then return 'claimed' end
  if event.resends then return 'resent' end
  if redis.call('HEXISTS', PREFIX .. 'event:' .. args.id, 'file_task') == 1 then return 'begun' end
  if event.state == 'scheduled' then
    leave_schedule(event.queue, event.tenant, event.lane, args.id)
    leave_waiting(event.queue, event.tenant, event.bytes)
  else
    leave_lane(event, args.id)
  end
  add_outcomes(event.tenant, args.outcomes)
  event.state, event.settled, event.by = 'cancelled', wall, 'cancel'
  keep_record(args.id, event, args.fields, args.ttl)
  return 'ok'
end
