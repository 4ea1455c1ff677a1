-- The records of settled events, and the lists of events whose effect is unknown.

-- Bytes. A hash with longer values, or names, takes several times the memory.
local SHORT = 64
local PIECES = 8 -- at most: a reason is kept as reason, reason1, reason2, …
local LONGEST = 480 -- bytes: a longer reason is kept as a whole

local function read_record(id)
  local h = redis.call('HMGET', PREFIX .. 'event:' .. id, 'state', 'fence', 'queue', 'tenant', 'by',
    'print', 'attempts', 'accepted', 'resends', 'lane', 'bytes', 'level',
    'send_at')
  return {state = h[1], fence = h[2], queue = h[3], tenant = h[4], by = h[5], print = h[6],
    attempts = h[7], accepted = h[8], resends = h[9], lane = h[10], bytes = tonumber(h[11] or 0),
    level = h[12], send_at = h[13]}
end

local function add_field(list, name, value)
  local first, piece = 1, ''
  while name == 'reason' and #value <= LONGEST and #value - first >= SHORT do
    local last = first + SHORT - 1
    while string.find(string.sub(value, last + 1, last + 1), '[\128-\191]') do last = last - 1 end
    list[#list + 1] = name .. piece
    list[#list + 1] = string.sub(value, first, last)
    first, piece = last + 1, (tonumber(piece) or 0) + 1
  end
  list[#list + 1] = name .. piece
  list[#list + 1] = string.sub(value, first)
end

-- A message that goes out once more keeps the requests that resolved it: they may be repeated.
local function add_resolutions(list, record)
  local h = redis.call('HGETALL', record)
  for i = 1, #h, 2 do
    if string.sub(h[i], 1, 11) == 'resolution:' then add_field(list, h[i], h[i + 1]) end
  end
end

-- A settled event answers its idempotency key for `ttl` s; what it carried is in Supabase. The
-- record is written anew, because a hash that was large once never becomes small.
local function keep_record(id, event, fields, ttl)
  local record = PREFIX .. 'event:' .. id
  local list = {'state', event.state, 'queue', event.queue, 'tenant', event.tenant,
    'print', event.print, 'attempts', event.attempts, 'accepted', event.accepted,
    'settled', event.settled, 'by', event.by}
  if event.send_at then add_field(list, 'send_at', event.send_at) end
  if event.resends then add_resolutions(list, record) end
  for name, value in pairs(fields or {}) do add_field(list, name, value) end
  redis.call('DEL', record)
  redis.call('HSET', record, unpack(list))
  redis.call('EXPIRE', record, ttl)
end

local function leave_unknown(tenant, lane, id)
  redis.call('SREM', PREFIX .. 'unknown:' .. lane, id)
  redis.call('ZREM', PREFIX .. 'unknown_of:' .. tenant, id)
  if redis.call('EXISTS', PREFIX .. 'unknown_of:' .. tenant) == 0 then
    redis.call('SREM', PREFIX .. 'unknown_tenants', tenant)
  end
end

-- A tenant has more events with an unknown effect than are kept: of the oldest the content goes.
-- Supabase has it as unknown, and its key is answered on.
local function drop_oldest_unknown(tenant, keep)
  local id = redis.call('ZPOPMIN', PREFIX .. 'unknown_of:' .. tenant)[1]
  local event = read_record(id)
  if event.state ~= 'unknown' then return end
  redis.call('SREM', PREFIX .. 'unknown:' .. event.lane, id)
  local record = redis.call('HMGET', PREFIX .. 'event:' .. id, 'settled', 'reason')
  event.settled = record[1]
  keep_record(id, event, {reason = record[2] or ''}, keep.ttl)
  report_lost(event.queue, tenant, event.lane, id, 'too many unknown')
end

local function list_unknown(tenant, lane, id, since, ttl)
  redis.call('SADD', PREFIX .. 'unknown:' .. lane, id)
  redis.call('EXPIRE', PREFIX .. 'unknown:' .. lane, ttl)
  redis.call('ZADD', PREFIX .. 'unknown_of:' .. tenant, since, id)
  redis.call('EXPIRE', PREFIX .. 'unknown_of:' .. tenant, ttl)
  redis.call('SADD', PREFIX .. 'unknown_tenants', tenant)
end

-- The record, with the content of the event, and the lists that name it end after `unknown_ttl` s.
local function enter_unknown(tenant, lane, id, keep)
  redis.call('EXPIRE', PREFIX .. 'event:' .. id, keep.unknown_ttl)
  list_unknown(tenant, lane, id, wall, keep.unknown_ttl)
  local index = PREFIX .. 'unknown_of:' .. tenant
  redis.call('ZREMRANGEBYSCORE', index, '-inf', wall - keep.unknown_ttl * 1000)
  if redis.call('ZCARD', index) > keep.unknown_limit then drop_oldest_unknown(tenant, keep) end
end
