-- Put back what an index lacks because its key was missing. The caller found candidates by reading;
-- each is looked at again here, and a candidate that is where it belongs stays there.

local NEWEST = 10000 -- members of a list, counted from its end: what became ready since is there

local function is_listed(queue, tenant, lane)
  for _, level in ipairs(HIGH_FIRST) do
    local list = ready_key(queue, tenant, level)
    if redis.call('LPOS', list, lane, 'RANK', -1, 'MAXLEN', NEWEST) then return true end
  end
  return false
end

local function mend_lane(lane, args)
  local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'queue', 'tenant',
    'high', 'low')
  local where, queue, tenant = state[1], state[2], state[3]
  if where == 'ready' then
    if is_listed(queue, tenant, lane) then return 0 end
    make_ready(queue, tenant, lane, find_level(lane, state[4], state[5]))
  elseif where == 'claimed' then
    return redis.call('ZADD', PREFIX .. 'leases:' .. queue, 'NX', now + args.lease, lane)
  elseif where then
    return redis.call('ZADD', PREFIX .. 'delayed:' .. queue, 'NX', now, lane)
  end
  return where and 1 or 0
end

-- An event that is in no lane goes to the front of its own, behind what is claimed: the rest was
-- appended later.
local function mend_event(id, args)
  local h = redis.call('HMGET', PREFIX .. 'event:' .. id, 'state', 'lane', 'queue', 'tenant', 'body',
    'settled', 'order', 'send_at')
  local state, lane = h[1], h[2]
  if not h[5] then return 0 end
  if state == 'scheduled' then
    local entry = schedule_entry(h[7], id, h[4], lane)
    return redis.call('ZADD', PREFIX .. 'scheduled:' .. h[3], 'NX', h[8], entry)
  end
  if state == 'unknown' then
    list_unknown(h[4], lane, id, h[6], args.unknown_ttl)
    return 1
  end
  if redis.call('LPOS', PREFIX .. 'lane:' .. lane, id) then return 0 end
  local where = redis.call('HGET', PREFIX .. 'lane:' .. lane .. ':state', 'where')
  local head = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  if head and redis.call('HGET', PREFIX .. 'event:' .. head, 'state') == 'claimed' then
    redis.call('LINSERT', PREFIX .. 'lane:' .. lane, 'AFTER', head, id)
  else
    redis.call('LPUSH', PREFIX .. 'lane:' .. lane, id)
  end
  if not where then place_lane(h[3], h[4], lane, 0) end
  return 1
end

local function repair(args)
  local mended = 0
  for _, lane in ipairs(args.lanes) do mended = mended + mend_lane(lane, args) end
  for _, each in ipairs(args.tenants) do
    local aside = redis.call('SISMEMBER', PREFIX .. 'aside:' .. each[1], each[2]) == 1
    if not aside and enter_rotation(each[1], each[2]) then
      count_ready(each[1])
      mended = mended + 1
    end
  end
  for _, id in ipairs(args.events) do mended = mended + mend_event(id, args) end
  return mended
end
