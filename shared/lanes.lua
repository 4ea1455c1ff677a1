-- Lanes: events in strict order per lane, lanes taken in turn by tenant, one holder at a time.
--
-- ARGV[1] command, ARGV[2] its arguments as one JSON object; KEYS[1] the prefix of every key below.
-- Times are the server's, in ms. Every command may be sent twice: the second answer equals the first.
--
--   event:{id}             hash    state queued|claimed|sent|failed|unknown|done, body, lane, tenant, kind, gates,
--                                  attempts, fence, accepted, expires, reason, print, settled, + what the handler noted
--   lane:{lane}            list    event ids, oldest first
--   lane:{lane}:is         hash    where ready|claimed|later|gated, fence, kind, tenant
--   ready:{kind}:{tenant}  list    lanes to be claimed, in turn
--   ring:{kind}            list    tenants with ready lanes and room for one more claim; ringed:{kind} is its set
--   busy:{kind}            hash    tenant -> lanes claimed now
--   waiting:{kind}         hash    tenant -> events in lanes
--   leases:{kind}          zset    claimed lane -> when its lease ends
--   later:{kind}           zset    postponed lane -> when it is due
--   gate:{name}            string  why it is closed, with a TTL; gated:{name} the lanes parked at it
--   slot:{slot}            hash    the last claim of one worker thread, so that a lost reply costs nothing
--   fence                  counter of claims: a later claim has a higher fence
--   outbox                 stream  outcomes on their way to Supabase

local P = KEYS[1]
local a = cjson.decode(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local function where(lane, value) redis.call('HSET', P .. 'lane:' .. lane .. ':is', 'where', value) end

local function enter_ring(kind, tenant)
  if redis.call('EXISTS', P .. 'ready:' .. kind .. ':' .. tenant) == 1
    and redis.call('SADD', P .. 'ringed:' .. kind, tenant) == 1 then
    redis.call('RPUSH', P .. 'ring:' .. kind, tenant)
  end
end

local function make_ready(kind, tenant, lane)
  where(lane, 'ready')
  redis.call('RPUSH', P .. 'ready:' .. kind .. ':' .. tenant, lane)
  enter_ring(kind, tenant)
end

-- Give up the claim of a lane, and say where it goes next: `due` ms from now, or to the others that are ready.
local function release(kind, tenant, lane, due)
  redis.call('ZREM', P .. 'leases:' .. kind, lane)
  if redis.call('HINCRBY', P .. 'busy:' .. kind, tenant, -1) <= 0 then redis.call('HDEL', P .. 'busy:' .. kind, tenant) end
  if redis.call('EXISTS', P .. 'lane:' .. lane) == 0 then
    redis.call('DEL', P .. 'lane:' .. lane .. ':is')
  elseif due then
    where(lane, 'later')
    redis.call('ZADD', P .. 'later:' .. kind, now + due, lane)
  else
    make_ready(kind, tenant, lane)
  end
  enter_ring(kind, tenant)
end

local function put_out(outcomes)
  for _, row in ipairs(outcomes or {}) do redis.call('XADD', P .. 'outbox', '*', 'r', row) end
end

local function note(id, fields)
  for name, value in pairs(fields or {}) do redis.call('HSET', P .. 'event:' .. id, name, value) end
end

-- The last in its lane; a lane that was empty becomes ready, or due after `delay` ms.
local function stand_in_line(kind, tenant, lane, id, delay)
  redis.call('RPUSH', P .. 'lane:' .. lane, id)
  redis.call('HINCRBY', P .. 'waiting:' .. kind, tenant, 1)
  local is = P .. 'lane:' .. lane .. ':is'
  if redis.call('EXISTS', is) == 1 then return end
  redis.call('HSET', is, 'kind', kind, 'tenant', tenant)
  if delay > 0 then
    where(lane, 'later')
    redis.call('ZADD', P .. 'later:' .. kind, now + delay, lane)
  else
    make_ready(kind, tenant, lane)
  end
end

local function append(e)
  local key = P .. 'event:' .. e.id
  local print = redis.call('HGET', key, 'print')
  if print then
    if print ~= e.print then return {'conflict'} end
    return {'same', redis.call('HGET', key, 'state')}
  end
  if e.limit and redis.call('XLEN', P .. 'outbox') >= e.limit then return {'full'} end
  redis.call('HSET', key, 'state', 'queued', 'body', e.body, 'lane', e.lane, 'tenant', e.tenant, 'kind', e.kind,
    'print', e.print, 'attempts', 0, 'accepted', now, 'expires', now + e.max_age, 'gates', table.concat(e.gates, ' '))
  stand_in_line(e.kind, e.tenant, e.lane, e.id, e.delay)
  put_out(e.outcomes)
  return {'new', 'queued'}
end

local function closed_gate(id)
  for gate in string.gmatch(redis.call('HGET', P .. 'event:' .. id, 'gates') or '', '%S+') do
    local left = redis.call('PTTL', P .. 'gate:' .. gate)
    if left > 0 then return gate, left end
  end
end

-- Park a lane at a closed gate, but let an event through that would expire there: its worker says so.
local function parked(kind, lane, id)
  local gate, left = closed_gate(id)
  if not gate then return false end
  local expires = tonumber(redis.call('HGET', P .. 'event:' .. id, 'expires'))
  if expires <= now then return false end
  where(lane, 'gated')
  redis.call('SADD', P .. 'gated:' .. gate, lane)
  redis.call('ZADD', P .. 'later:' .. kind, math.min(now + left, expires), lane)
  return true
end

local function answer(id, lane, fence)
  local e = redis.call('HMGET', P .. 'event:' .. id, 'attempts', 'accepted', 'expires', 'body', 'reason')
  return {'claim', id, lane, tostring(fence), e[1], e[2], e[3], tostring(now), e[4], e[5] or ''}
end

local function hold(kind, tenant, lane, id)
  local fence = redis.call('INCR', P .. 'fence')
  redis.call('HSET', P .. 'lane:' .. lane .. ':is', 'where', 'claimed', 'fence', fence)
  redis.call('ZADD', P .. 'leases:' .. kind, now + a.lease, lane)
  redis.call('HINCRBY', P .. 'busy:' .. kind, tenant, 1)
  redis.call('HSET', P .. 'event:' .. id, 'state', 'claimed', 'fence', fence)
  redis.call('HINCRBY', P .. 'event:' .. id, 'attempts', 1)
  return fence
end

-- The ready lane whose turn it is, of the next tenant with room; nil when none is ready.
local function next_lane(kind)
  local ring, ringed = P .. 'ring:' .. kind, P .. 'ringed:' .. kind
  local tenant = redis.call('LPOP', ring)
  if not tenant then return nil end
  local ready = P .. 'ready:' .. kind .. ':' .. tenant
  local busy = tonumber(redis.call('HGET', P .. 'busy:' .. kind, tenant) or 0)
  if busy >= a.room then
    redis.call('SREM', ringed, tenant) -- it comes back when one of its claims is released
    return false
  end
  local lane = redis.call('LPOP', ready)
  if redis.call('EXISTS', ready) == 1 then redis.call('RPUSH', ring, tenant) else redis.call('SREM', ringed, tenant) end
  return lane, tenant
end

local function claim()
  local kind, slot = a.kind, P .. 'slot:' .. a.slot
  local last = redis.call('HMGET', slot, 'seq', 'id', 'lane', 'fence')
  if last[1] == a.seq then -- the reply to this very claim was lost: give it again
    if last[2] == '' then return {'none'} end
    if redis.call('HGET', P .. 'event:' .. last[2], 'fence') == last[4] then return answer(last[2], last[3], last[4]) end
  end
  local function remember(id, lane, fence)
    redis.call('HSET', slot, 'seq', a.seq, 'id', id, 'lane', lane, 'fence', fence)
    redis.call('PEXPIRE', slot, 3600000)
  end
  if a.limit and redis.call('XLEN', P .. 'outbox') >= a.limit then return {'full'} end
  for _ = 1, 64 do
    local lane, tenant = next_lane(kind)
    if lane == nil then
      remember('', '', '')
      return {'none'}
    end
    local id = lane and redis.call('LINDEX', P .. 'lane:' .. lane, 0)
    if lane and not id then redis.call('DEL', P .. 'lane:' .. lane .. ':is') end
    if id and not parked(kind, lane, id) then
      local fence = hold(kind, tenant, lane, id)
      remember(id, lane, fence)
      return answer(id, lane, fence)
    end
  end
  return {'again'} -- many parked lanes stood in front: the caller asks once more, so that no call takes long
end

-- A settled event answers its idempotency key for a while; what it carried is in Supabase.
local function forget_later(id)
  redis.call('HDEL', P .. 'event:' .. id, 'body', 'gates', 'expires')
  redis.call('EXPIRE', P .. 'event:' .. id, a.ttl)
end

-- Whoever claimed an event may conclude it: as long as nobody else has claimed it since. Late news of an event that
-- was given up (its lease ended, so it is `unknown`, or waits to be sent again) is still news.
local function may_conclude(e, lane_fence)
  if e.fence == a.fence then return e.state == 'claimed' or e.state == 'queued' or e.state == 'unknown' end
  return e.state == 'claimed' and lane_fence == a.fence -- the clock, which took over an ended lease
end

local function conclude()
  local key, is = P .. 'event:' .. a.id, P .. 'lane:' .. a.lane .. ':is'
  local h = redis.call('HMGET', key, 'state', 'fence', 'kind', 'tenant')
  local e = {state = h[1], fence = h[2], kind = h[3], tenant = h[4]}
  local lane = redis.call('HMGET', is, 'where', 'fence')
  if not e.state then return 'lost' end
  if redis.call('HGET', key, 'by') == a.fence .. a.state then return 'ok' end -- this very call, again
  if not may_conclude(e, lane[2]) then return 'lost' end
  local claimed = lane[1] == 'claimed' and e.state == 'claimed'
  if a.state == 'queued' then -- not now: the event stays at the head of its lane
    if not claimed then return 'lost' end
    note(a.id, a.fields)
    redis.call('HSET', key, 'state', 'queued', 'by', a.fence .. a.state)
    put_out(a.outcomes)
    release(e.kind, e.tenant, a.lane, a.delay)
    return 'ok'
  end
  if e.state ~= 'unknown' then
    if redis.call('LREM', P .. 'lane:' .. a.lane, 1, a.id) == 0 then return 'lost' end
    if redis.call('HINCRBY', P .. 'waiting:' .. e.kind, e.tenant, -1) <= 0 then
      redis.call('HDEL', P .. 'waiting:' .. e.kind, e.tenant)
    end
  end
  note(a.id, a.fields)
  redis.call('HSET', key, 'state', a.state, 'settled', now, 'by', a.fence .. a.state)
  if a.state ~= 'unknown' then forget_later(a.id) end
  put_out(a.outcomes)
  if claimed then release(e.kind, e.tenant, a.lane) end
  for _, follow in ipairs(a.follow or {}) do append(follow) end
  return 'ok'
end

local function extend()
  local lane = redis.call('HMGET', P .. 'lane:' .. a.lane .. ':is', 'where', 'fence')
  if lane[1] ~= 'claimed' or lane[2] ~= a.fence then return 'lost' end
  redis.call('ZADD', P .. 'leases:' .. a.kind, now + a.lease, a.lane)
  return 'ok'
end

-- Wake what is due and take over what was given up. The caller settles what it took over, under a lease of its own.
local function sweep()
  local kind, leases, later, out = a.kind, P .. 'leases:' .. a.kind, P .. 'later:' .. a.kind, {}
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, a.count)) do
    redis.call('ZREM', later, lane)
    local tenant = redis.call('HGET', P .. 'lane:' .. lane .. ':is', 'tenant')
    if tenant then make_ready(kind, tenant, lane) end
  end
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, a.count)) do
    local is, id = P .. 'lane:' .. lane .. ':is', redis.call('LINDEX', P .. 'lane:' .. lane, 0)
    if id then
      local fence = redis.call('INCR', P .. 'fence')
      redis.call('HSET', is, 'fence', fence)
      redis.call('ZADD', leases, now + a.lease, lane)
      out[#out + 1] = answer(id, lane, fence)
    else
      redis.call('ZREM', leases, lane)
      redis.call('DEL', is)
    end
  end
  local due = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
  return {redis.call('LLEN', P .. 'ring:' .. kind), due[2] and tostring(tonumber(due[2]) - now) or '-1', out}
end

local function open_gate()
  redis.call('DEL', P .. 'gate:' .. a.gate)
  local lanes = redis.call('SPOP', P .. 'gated:' .. a.gate, 1000)
  for _, lane in ipairs(lanes) do
    local h = redis.call('HMGET', P .. 'lane:' .. lane .. ':is', 'where', 'kind', 'tenant')
    if h[1] == 'gated' then
      redis.call('ZREM', P .. 'later:' .. h[2], lane)
      make_ready(h[2], h[3], lane)
    end
  end
  return #lanes
end

-- An event whose effect nobody knew is settled by somebody who does (a webhook, an operator), or goes out once more.
local function resolve()
  local key = P .. 'event:' .. a.id
  local h = redis.call('HMGET', key, 'state', 'kind', 'tenant', 'lane')
  if h[1] ~= 'unknown' then return 'lost' end
  note(a.id, a.fields)
  put_out(a.outcomes)
  if a.state == 'queued' then
    redis.call('HSET', key, 'state', 'queued', 'fence', '', 'expires', now + a.max_age)
    stand_in_line(h[2], h[3], h[4], a.id, 0)
    return 'ok'
  end
  redis.call('HSET', key, 'state', a.state, 'settled', now)
  forget_later(a.id)
  return 'ok'
end

local command = ARGV[1]
if command == 'append' then return append(a) end
if command == 'claim' then return claim() end
if command == 'conclude' then
  local done = conclude()
  if a.slot then return {done, claim()} end
  return {done}
end
if command == 'extend' then return {extend()} end
if command == 'sweep' then return sweep() end
if command == 'open_gate' then return open_gate() end
if command == 'resolve' then return {resolve()} end
return redis.error_reply('no such command: ' .. command)
