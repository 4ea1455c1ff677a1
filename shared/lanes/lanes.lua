-- Lanes: events in strict order per lane, lanes taken in turn by tenant, one holder at a time.
--
-- ARGV[1] command, ARGV[2] its arguments as one JSON object; KEYS[1] the prefix of every key below.
-- Times are the server's, in ms. Every command may be sent twice, because its reply was lost, and has one effect: an
-- append then says `same`, a gate that is open has nobody standing at it, and what a sweep took over in vain is taken
-- over again a few seconds later.
--
--   event:{id}             hash    state queued|claimed|sent|failed|unknown|done, body, lane, tenant, kind, gates,
--                                  attempts, fence, accepted, expires, due, reason, print, settled, by (who ended the
--                                  last claim, and how), unexpected_errors, resends, + what the handler noted
--   lane:{lane}            list    event ids, oldest first
--   lane:{lane}:is         hash    where ready|claimed|later|gated, fence, gate, kind, tenant
--   ready:{kind}:{tenant}  list    lanes to be claimed, in turn
--   ring:{kind}            list    tenants with ready lanes and room for one more claim; ringed:{kind} is its set
--   busy:{kind}            hash    tenant -> lanes claimed now
--   waiting:{kind}         hash    tenant -> events in lanes
--   leases:{kind}          zset    claimed lane -> when its lease ends
--   later:{kind}           zset    postponed lane -> when it is due
--   gate:{name}            string  why it is closed, with a TTL; gated:{name} the lanes parked at it
--   slot:{slot}            hash    the last claim of one worker thread, so that a lost reply costs nothing
--   awake:{kind}           zset    slots that found nothing ready and stay a moment -> until when
--   call:{slot}            list    one token: a lane became ready, come and claim; whoever stays blocks on it
--   wanted:{kind}          counter of lanes that became ready while nobody stayed: each is worth a wake-up
--   unknown:{lane}         set     events of the lane whose effect nobody knows
--   fence                  counter of claims: a later claim has a higher fence
--   outbox                 stream  outcomes on their way to Supabase
--   swept                  when the last sweep was

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

local function make_later(kind, lane, at)
  where(lane, 'later')
  redis.call('ZADD', P .. 'later:' .. kind, at, lane)
end

-- End the waiting of a lane that is postponed or parked at `gate`.
local function leave_later(kind, lane, gate)
  redis.call('ZREM', P .. 'later:' .. kind, lane)
  if gate then
    redis.call('SREM', P .. 'gated:' .. gate, lane)
    redis.call('HDEL', P .. 'lane:' .. lane .. ':is', 'gate')
  end
end

-- Say where a lane goes that stands nowhere: `delay` ms from now, or to the others that are ready.
local function go_on(kind, tenant, lane, delay)
  if redis.call('EXISTS', P .. 'lane:' .. lane) == 0 then
    redis.call('DEL', P .. 'lane:' .. lane .. ':is')
  elseif delay and delay > 0 then
    make_later(kind, lane, now + delay)
  else
    make_ready(kind, tenant, lane)
  end
end

local function release(kind, tenant, lane, delay)
  redis.call('ZREM', P .. 'leases:' .. kind, lane)
  if redis.call('HINCRBY', P .. 'busy:' .. kind, tenant, -1) <= 0 then redis.call('HDEL', P .. 'busy:' .. kind, tenant) end
  go_on(kind, tenant, lane, delay)
  enter_ring(kind, tenant)
end

-- A lane became ready: call the thread that stays longest from now on, if one stays.
local function call_one(kind)
  local last = redis.call('ZPOPMAX', P .. 'awake:' .. kind)
  if not last[1] or tonumber(last[2]) <= now then return false end
  redis.call('RPUSH', P .. 'call:' .. last[1], 1)
  redis.call('PEXPIRE', P .. 'call:' .. last[1], 10000)
  return true
end

local function call_or_want(kind)
  if call_one(kind) then return end
  redis.call('INCR', P .. 'wanted:' .. kind)
  redis.call('PEXPIRE', P .. 'wanted:' .. kind, 10000)
end

-- Nothing is ready, so no wake-up is wanted; this slot may be called for `a.stay` ms, if it stays.
local function nothing_ready(kind)
  redis.call('DEL', P .. 'wanted:' .. kind)
  if a.stay then
    redis.call('ZADD', P .. 'awake:' .. kind, now + a.stay, a.slot)
    redis.call('PEXPIRE', P .. 'awake:' .. kind, a.stay)
  end
  return {'none'}
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
  go_on(kind, tenant, lane, delay)
  if not delay or delay <= 0 then call_or_want(kind) end
end

-- Write a record first: false when Redis' memory is full (what a script writes later is let through).
local function recorded(key, ...)
  local reply = redis.pcall('HSET', key, ...)
  if type(reply) == 'number' then return true end
  if string.find(reply.err, 'OOM', 1, true) then return false end
  error(reply.err)
end

local function append(e)
  local key = P .. 'event:' .. e.id
  local print = redis.call('HGET', key, 'print')
  if print then
    if print ~= e.print then return {'conflict'} end
    return {'same', redis.call('HGET', key, 'state')}
  end
  if e.limit and redis.call('XLEN', P .. 'outbox') >= e.limit then return {'full', 'outbox'} end
  if e.most and tonumber(redis.call('HGET', P .. 'waiting:' .. e.kind, e.tenant) or 0) >= e.most then
    return {'full', 'waiting'}
  end
  if not recorded(key, 'state', 'queued', 'body', e.body, 'lane', e.lane, 'tenant', e.tenant, 'kind', e.kind,
    'print', e.print, 'attempts', 0, 'accepted', now, 'expires', now + e.max_age, 'gates', table.concat(e.gates, ' '))
  then
    return {'full', 'memory'}
  end
  if e.delay > 0 then redis.call('HSET', key, 'due', now + e.delay) end
  stand_in_line(e.kind, e.tenant, e.lane, e.id, e.delay)
  put_out(e.outcomes)
  return {'new', 'queued'}
end

local function closed_gate(gates)
  for gate in string.gmatch(gates, '%S+') do
    local left = redis.call('PTTL', P .. 'gate:' .. gate)
    if left > 0 then return gate, left end
  end
end

-- Whether a lane has to wait because its head is not due or a gate is closed; it is put there. An event that would
-- expire at a gate is let through: its worker says so.
local function must_wait(kind, lane, id)
  local e = redis.call('HMGET', P .. 'event:' .. id, 'gates', 'expires', 'due')
  local expires, due = tonumber(e[2]), tonumber(e[3] or 0)
  if due > now then
    make_later(kind, lane, due)
    return true
  end
  local gate, left = closed_gate(e[1])
  if not gate or expires <= now then return false end
  redis.call('HSET', P .. 'event:' .. id, 'reason', redis.call('GET', P .. 'gate:' .. gate)) -- in case it expires here
  redis.call('HSET', P .. 'lane:' .. lane .. ':is', 'where', 'gated', 'gate', gate)
  redis.call('SADD', P .. 'gated:' .. gate, lane)
  redis.call('ZADD', P .. 'later:' .. kind, math.min(now + left, expires), lane)
  return true
end

local function answer(id, lane, fence)
  local e = redis.call('HMGET', P .. 'event:' .. id, 'attempts', 'accepted', 'expires', 'body', 'reason', 'unexpected_errors',
    'resends')
  return {'claim', id, lane, tostring(fence), e[1], e[2], e[3], tostring(now), e[4], e[5] or '', e[6] or '0', e[7] or '0'}
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

-- The reply to this very claim was lost: give it again, if it still holds, with a whole lease.
local function claim_again(slot)
  local last = redis.call('HMGET', slot, 'seq', 'kind', 'id', 'lane', 'fence')
  if last[1] ~= a.seq or last[2] ~= a.kind then return nil end
  local lane = redis.call('HMGET', P .. 'lane:' .. last[4] .. ':is', 'where', 'fence')
  if lane[1] ~= 'claimed' or lane[2] ~= last[5] then return nil end
  redis.call('ZADD', P .. 'leases:' .. a.kind, now + a.lease, last[4])
  return answer(last[3], last[4], last[5])
end

local function claim()
  local kind, slot = a.kind, P .. 'slot:' .. a.slot
  local again = claim_again(slot)
  if again then return again end
  if a.limit and redis.call('XLEN', P .. 'outbox') >= a.limit then return {'full'} end
  for _ = 1, a.looks do
    local lane, tenant = next_lane(kind)
    if lane == nil then return nothing_ready(kind) end
    local id = lane and redis.call('LINDEX', P .. 'lane:' .. lane, 0)
    if lane and not id then redis.call('DEL', P .. 'lane:' .. lane .. ':is') end -- emptied by late news
    if id and not must_wait(kind, lane, id) then
      local fence = hold(kind, tenant, lane, id)
      redis.call('HSET', slot, 'seq', a.seq, 'kind', kind, 'id', id, 'lane', lane, 'fence', fence)
      redis.call('PEXPIRE', slot, 3600000)
      return answer(id, lane, fence)
    end
  end
  return {'again'} -- many lanes that wait stood in front: the caller asks once more, so that no call takes long
end

-- A settled event answers its idempotency key for a while; what it carried is in Supabase.
local function forget_later(id)
  redis.call('HDEL', P .. 'event:' .. id, 'body', 'gates', 'expires', 'due')
  redis.call('EXPIRE', P .. 'event:' .. id, a.ttl)
end

-- Whoever claimed an event may conclude it, as long as nobody else has claimed it since. Late news of an event that
-- was given up (its lease ended, so it is `unknown`, or waits to be tried again) is still news; that nobody knows is not.
local function may_conclude(e, lane)
  if e.state == 'claimed' then
    return e.fence == a.fence or lane.fence == a.fence -- or the clock, which took over an ended lease
  end
  if e.fence ~= a.fence or a.state == 'queued' or a.state == 'unknown' then return false end
  return e.state == 'queued' or e.state == 'unknown'
end

local function take_out(e)
  redis.call('LREM', P .. 'lane:' .. a.lane, 1, a.id)
  if redis.call('HINCRBY', P .. 'waiting:' .. e.kind, e.tenant, -1) <= 0 then
    redis.call('HDEL', P .. 'waiting:' .. e.kind, e.tenant)
  end
end

local function settle(e, lane)
  local waited = (lane.where == 'later' or lane.where == 'gated')
    and redis.call('LINDEX', P .. 'lane:' .. a.lane, 0) == a.id
  if e.state == 'unknown' then redis.call('SREM', P .. 'unknown:' .. a.lane, a.id) else take_out(e) end
  if a.state == 'unknown' then redis.call('SADD', P .. 'unknown:' .. a.lane, a.id) else forget_later(a.id) end
  if e.state == 'claimed' then
    release(e.kind, lane.tenant, a.lane)
  elseif waited then -- for a time or a gate that was this event's
    leave_later(e.kind, a.lane, lane.gate)
    go_on(e.kind, lane.tenant, a.lane)
  end
  for _, follow in ipairs(a.follow or {}) do
    follow.limit, follow.most = nil, nil -- it was accepted with the event that it follows
    append(follow)
  end
end

local function conclude()
  local key, is = P .. 'event:' .. a.id, P .. 'lane:' .. a.lane .. ':is'
  local h = redis.call('HMGET', key, 'state', 'fence', 'kind', 'tenant', 'by')
  local e = {state = h[1], fence = h[2], kind = h[3], tenant = h[4], by = h[5]}
  h = redis.call('HMGET', is, 'where', 'fence', 'tenant', 'gate')
  local lane = {where = h[1], fence = h[2], tenant = h[3], gate = h[4]}
  if e.by == a.fence .. a.state then return 'ok' end -- this very call, again
  if not may_conclude(e, lane) then return 'lost' end
  note(a.id, a.fields)
  put_out(a.outcomes)
  if a.state == 'queued' then -- not now: the event stays at the head of its lane
    redis.call('HSET', key, 'state', a.state, 'by', a.fence .. a.state)
    release(e.kind, lane.tenant, a.lane, a.delay)
  else
    redis.call('HSET', key, 'state', a.state, 'by', a.fence .. a.state, 'settled', now)
    settle(e, lane)
  end
  return 'ok'
end

local function extend()
  local lane = redis.call('HMGET', P .. 'lane:' .. a.lane .. ':is', 'where', 'fence')
  if lane[1] ~= 'claimed' or lane[2] ~= a.fence then return 'lost' end
  redis.call('ZADD', P .. 'leases:' .. a.kind, now + a.lease, a.lane)
  return 'ok'
end

-- How many more events could be worked on now: the ready lanes of each tenant, as far as it has room.
local function workable(kind)
  local ring, total = P .. 'ring:' .. kind, 0
  local tenants = redis.call('LRANGE', ring, 0, 63)
  for _, tenant in ipairs(tenants) do
    local room = a.room - tonumber(redis.call('HGET', P .. 'busy:' .. kind, tenant) or 0)
    total = total + math.max(0, math.min(room, redis.call('LLEN', P .. 'ready:' .. kind .. ':' .. tenant)))
  end
  return total + redis.call('LLEN', ring) - #tenants
end

-- Wake what is due and take over what was given up. The caller settles what it took over, under a lease of its own, and
-- wakes as many as it is told.
local function sweep()
  local kind, leases, later, out = a.kind, P .. 'leases:' .. a.kind, P .. 'later:' .. a.kind, {}
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, a.count)) do
    local is = redis.call('HMGET', P .. 'lane:' .. lane .. ':is', 'tenant', 'gate')
    leave_later(kind, lane, is[2])
    make_ready(kind, is[1], lane)
    call_one(kind)
  end
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, a.count)) do
    local fence = redis.call('INCR', P .. 'fence')
    redis.call('HSET', P .. 'lane:' .. lane .. ':is', 'fence', fence)
    redis.call('ZADD', leases, now + a.lease, lane)
    out[#out + 1] = answer(redis.call('LINDEX', P .. 'lane:' .. lane, 0), lane, fence)
  end
  redis.call('SET', P .. 'swept', now)
  local due = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
  return {workable(kind), due[2] and tostring(tonumber(due[2]) - now) or '-1', out}
end

local function open_gate()
  redis.call('DEL', P .. 'gate:' .. a.gate)
  local lanes = redis.call('SPOP', P .. 'gated:' .. a.gate, 1000)
  for _, lane in ipairs(lanes) do
    local h = redis.call('HMGET', P .. 'lane:' .. lane .. ':is', 'kind', 'tenant')
    leave_later(h[1], lane, a.gate)
    make_ready(h[1], h[2], lane)
    call_or_want(h[1])
  end
  return #lanes
end

-- An event whose effect nobody knew is settled by somebody who does (a webhook, an operator), or goes out once more.
local function resolve()
  local key = P .. 'event:' .. a.id
  local h = redis.call('HMGET', key, 'state', 'kind', 'tenant', 'lane', 'by')
  if h[5] == 'resolve' .. a.state then return 'ok' end -- this very call, again
  if h[1] ~= 'unknown' then return 'lost' end
  note(a.id, a.fields)
  put_out(a.outcomes)
  redis.call('HSET', key, 'state', a.state, 'settled', now, 'by', 'resolve' .. a.state)
  redis.call('SREM', P .. 'unknown:' .. h[4], a.id)
  if a.state == 'queued' then
    redis.call('HSET', key, 'expires', now + a.max_age)
    redis.call('HDEL', key, 'settled', 'unexpected_errors', 'resends')
    stand_in_line(h[2], h[3], h[4], a.id, 0)
  else
    forget_later(a.id)
  end
  return 'ok'
end

-- A failed event stands in line once more, whole and as if new, as the last of its lane: whoever failed at it before has
-- no say in it. Any other state: it has been done already.
local function replay()
  local key = P .. 'event:' .. a.id
  local state = redis.call('HGET', key, 'state')
  if not state then return append(a) end
  if state ~= 'failed' then return {'same', state} end
  if not recorded(key, 'state', 'queued', 'body', a.body, 'gates', table.concat(a.gates, ' '), 'lane', a.lane,
    'tenant', a.tenant, 'kind', a.kind, 'expires', now + a.max_age, 'attempts', 0) then
    return {'full', 'memory'}
  end
  redis.call('HDEL', key, 'settled', 'fence', 'by', 'reason', 'code', 'unexpected_errors', 'resends')
  redis.call('PERSIST', key)
  stand_in_line(a.kind, a.tenant, a.lane, a.id, 0)
  return {'new', 'queued'}
end

local command = ARGV[1]
-- With its memory full, Redis refuses a script whose first write asks for more: so it does with new events. What was
-- accepted has to end all the same, nothing else makes room: hence a first write that asks for none.
if command ~= 'append' and command ~= 'append_all' and command ~= 'replay' then redis.call('DEL', P .. 'nothing') end
if command == 'append' then return append(a) end
if command == 'append_all' then
  local replies = {}
  for i, e in ipairs(a) do replies[i] = append(e) end
  return replies
end
if command == 'claim' then return claim() end
if command == 'conclude' then
  local done = conclude()
  if a.slot then return {done, claim()} end
  return {done}
end
if command == 'extend' then return {extend()} end
if command == 'sweep' then return sweep() end
if command == 'open_gate' then return open_gate() end
if command == 'replay' then return replay() end
if command == 'resolve' then return {resolve()} end
return redis.error_reply('no such command: ' .. command)
