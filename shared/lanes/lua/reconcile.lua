-- After a restore: what Supabase knows of messages ends them here. No worker runs meanwhile.

-- An event that is open here is settled, or becomes `unknown`: it may have gone out since the backup.
local function reconcile(args)
  local event = read_record(args.id)
  local h = redis.call('HMGET', PREFIX .. 'lane:' .. (event.lane or '') .. ':state', 'tenant',
    'high', 'low')
  local lane = {tenant = h[1] or event.tenant, high = h[2], low = h[3]}
  if event.state == 'scheduled' then
    leave_schedule(event.queue, event.tenant, event.lane, args.id)
    leave_waiting(event.queue, event.tenant, event.bytes)
  elseif event.state == 'queued' then
    leave_lane(event, args.id)
  elseif event.state == 'claimed' then
    remove_from_lane(event, lane, event.lane, args.id)
    release(event.queue, lane.tenant, event.lane, 0, lane.high, lane.low)
  else
    return 'lost'
  end
  add_outcomes(event.tenant, args.outcomes)
  if args.state == 'unknown' then
    set_fields(args.id, args.fields)
    redis.call('HSET', PREFIX .. 'event:' .. args.id, 'state', 'unknown', 'by', 'reconcile',
      'settled', wall)
    enter_unknown(event.tenant, event.lane, args.id, args.keep)
  else
    event.state, event.settled, event.by = args.state, wall, 'reconcile'
    keep_record(args.id, event, args.fields, args.keep.ttl)
  end
  return 'ok'
end

-- A message of which only Supabase knows: its id is taken, so that a repeated request with its key
-- is answered and sends nothing.
local function recall(args)
  local count = 0
  for _, each in ipairs(args.messages) do
    if redis.call('EXISTS', PREFIX .. 'event:' .. each.id) == 0 then
      local event = {state = each.state, queue = 'send', tenant = each.tenant, print = '',
        attempts = '0', accepted = each.accepted, settled = wall, by = 'reconcile'}
      keep_record(each.id, event, {reason = 'recalled from Supabase'}, args.ttl)
      count = count + 1
    end
  end
  return count
end
