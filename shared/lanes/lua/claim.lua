-- Claim the heads of ready lanes, tenants in turn. `request`: sequence, number, queue, count,
-- lease (ms), max_scans (lanes to look at, if all of them have to wait), outbox_limit, knows (the
-- newest version of events that the worker can read), run (events of a lane that one claim is for).

-- The gate that is closed, and how much longer: its key lives by the wall clock, which may step back.
local function closed_gate(gates)
  for gate in string.gmatch(gates, '%S+') do
    local left = redis.call('PTTL', PREFIX .. 'gate:' .. gate)
    if left > 0 then
      local ends = redis.call('ZSCORE', PREFIX .. 'gate_ends', gate)
      if ends then left = math.min(left, ends - now) end
      if left > 0 then return gate, left end
    end
  end
end

-- `accepted`: since when it waits for its turn, of a scheduled event since it was due.
local function read_event(id)
  local h = redis.call('HMGET', PREFIX .. 'event:' .. id, 'gates', 'expires', 'due', 'attempts',
    'accepted', 'body', 'reason', 'unexpected_errors', 'resends', 'state',
    'lost_leases', 'fence', 'file_task', 'send_at', 'v')
  return {gates = h[1], expires = h[2], due = h[3], attempts = h[4], accepted = h[14] or h[5],
    body = h[6], reason = h[7], unexpected_errors = h[8], resends = h[9], state = h[10],
    lost_leases = h[11], fence = h[12], file_task = h[13], version = tonumber(h[15] or 1)}
end

local function is_waiting(event) return event.state == 'queued' and event.body end
local function is_claimed(event) return event.state == 'claimed' and event.body end

-- The first event of a lane has no record, or is settled: it leaves the lane, which goes on.
-- `tenant` is the lane's.
local function drop_head(queue, tenant, lane, id, event)
  redis.call('LREM', PREFIX .. 'lane:' .. lane, 1, id)
  leave_waiting(queue, tenant)
  if not event.state or event.state == 'queued' or event.state == 'claimed' then
    report_lost(queue, tenant, lane, id, 'record missing')
    redis.call('HINCRBY', PREFIX .. 'lost_events', queue, 1)
  end
end

local function describe(id, lane, fence, event, following)
  return {id, lane, tostring(fence), tostring(event.attempts), event.accepted, event.expires,
    tostring(wall), event.body, event.reason or '', event.unexpected_errors or '0',
    event.resends or '0', tostring(event.lost_leases or 0), event.file_task or '', following or {}}
end

-- The events behind a claimed one that its worker may handle with it, up to one that has to wait or
-- was tried before. They stay queued until the results of the claim settle them (conclude.lua), so
-- whatever becomes of the worker, they are as if nobody had read them.
local function read_following(request, lane, fence, ids)
  local found = {}
  for i = 2, #ids do
    local event = read_event(ids[i])
    local may_start = is_waiting(event) and event.attempts == '0' and event.gates == ''
      and tonumber(event.due or 0) <= now and tonumber(event.expires) > wall
    if not may_start or event.version > request.knows then break end
    event.attempts = 1
    found[#found + 1] = describe(ids[i], lane, fence, event)
  end
  return found
end

-- Whether a lane has to wait because its head is not due or a gate is closed; then it is placed
-- there. An event that would expire at a gate passes: its worker dead-letters it.
local function must_wait(queue, tenant, lane, id, event)
  local expires = tonumber(event.expires)
  local due = tonumber(event.due or 0)
  if due > now then
    make_delayed(queue, tenant, lane, due)
    return true
  end
  local gate, left = closed_gate(event.gates)
  if not gate or expires <= wall then return false end
  local reason = redis.call('GET', PREFIX .. 'gate:' .. gate)
  redis.call('HSET', PREFIX .. 'event:' .. id, 'reason', reason)
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'gated', 'gate', gate,
    'queue', queue, 'tenant', tenant)
  redis.call('SADD', PREFIX .. 'gated:' .. gate, lane)
  redis.call('ZADD', PREFIX .. 'delayed:' .. queue, now + math.min(left, expires - wall), lane)
  return true
end

-- A later claim of an event has a higher fence than `last`, also when the counter was lost.
local function next_fence(last)
  local fence = redis.call('INCR', PREFIX .. 'fence')
  if last < fence then return fence end
  redis.call('SET', PREFIX .. 'fence', last + 1)
  return last + 1
end

local function hold(request, tenant, lane, id, event)
  local fence = next_fence(tonumber(event.fence or 0))
  event.attempts = tonumber(event.attempts) + 1
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'claimed', 'fence', fence,
    'queue', request.queue, 'tenant', tenant)
  redis.call('ZADD', PREFIX .. 'leases:' .. request.queue, now + request.lease, lane)
  redis.call('HINCRBY', PREFIX .. 'busy:' .. request.queue, tenant, 1)
  redis.call('HSET', PREFIX .. 'event:' .. id, 'state', 'claimed', 'fence', fence,
    'attempts', event.attempts, 'claimed', wall)
  return fence
end

-- The next ready lane of the next tenant; nil when no tenant has a ready lane and may take a thread.
local function next_lane(queue, free)
  local rotation = PREFIX .. 'rr:tenants:' .. queue
  local tenant = next_tenant(queue, free)
  if not tenant then return nil end
  local lane = pop_ready(queue, tenant)
  if count_lists(queue, tenant) > 0 then
    redis.call('LMOVE', rotation, rotation, 'LEFT', 'RIGHT')
  else
    redis.call('LPOP', rotation)
    redis.call('SREM', PREFIX .. 'rr:tenants:set:' .. queue, tenant)
  end
  return lane, tenant
end

local function list_run(request, lane)
  return redis.call('LRANGE', PREFIX .. 'lane:' .. lane, 0, (request.run or 1) - 1)
end

-- The reply to this very request was lost: repeat its claims that still hold, with a whole lease.
local function claim_again(request)
  local stored = redis.call('GET', PREFIX .. 'reply:' .. request.sequence)
  local last = stored and cjson.decode(stored)
  if not last or last.number ~= request.number or last.queue ~= request.queue then return nil end
  redis.call('DEL', PREFIX .. 'nothing') -- see main_operate.lua
  local found = {}
  for _, claim in ipairs(last.claims) do
    local id, lane, fence = claim[1], claim[2], claim[3]
    local state = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'fence')
    local event = read_event(id)
    if state[1] == 'claimed' and state[2] == fence and is_claimed(event) then
      redis.call('ZADD', PREFIX .. 'leases:' .. request.queue, now + request.lease, lane)
      local following = read_following(request, lane, fence, list_run(request, lane))
      found[#found + 1] = describe(id, lane, fence, event, following)
    end
  end
  return found[1] and found
end

local function store_reply(request, found)
  local claims = {}
  for i, claim in ipairs(found) do claims[i] = {claim[1], claim[2], claim[3]} end
  local stored = cjson.encode({number = request.number, queue = request.queue, claims = claims})
  redis.call('SET', PREFIX .. 'reply:' .. request.sequence, stored, 'PX', 3600000)
end

-- The first event of a lane is claimed. Without a lease, the sweeper takes it over at once.
local function keep_claimed(queue, tenant, lane)
  if redis.call('ZADD', PREFIX .. 'leases:' .. queue, 'NX', now, lane) == 1 then
    redis.call('HINCRBY', PREFIX .. 'busy:' .. queue, tenant, 1)
    set_where(queue, tenant, lane, 'claimed')
  end
end

-- Claim the first event of a ready lane; nil when the lane has to wait, or has no such event.
local function claim_lane(request, tenant, lane)
  local ids = list_run(request, lane)
  local id = ids[1]
  if not id then -- emptied by a late result
    redis.call('DEL', PREFIX .. 'lane:' .. lane .. ':state')
    return nil
  end
  local event = read_event(id)
  if is_waiting(event) then
    if must_wait(request.queue, tenant, lane, id, event) then return nil end
    if event.version > request.knows then
      leave_to_newer(request.queue, tenant, lane, event.version)
      return nil
    end
    local fence = hold(request, tenant, lane, id, event)
    return describe(id, lane, fence, event, read_following(request, lane, fence, ids))
  end
  if is_claimed(event) then -- its state was missing, so that the lane was placed twice
    keep_claimed(request.queue, tenant, lane)
    return nil
  end
  drop_head(request.queue, tenant, lane, id, event)
  local h = redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'high', 'low')
  place_lane(request.queue, tenant, lane, 0, h[1], h[2])
  return nil
end

-- Claim lanes that workers of an earlier version left.
local function claim_left(request, found, free)
  local looks = request.max_scans + request.count
  for _, version in ipairs(request.versions) do
    while #found < request.count and looks > 0 do
      local lane, tenant = next_newer(request.queue, version, free - #found)
      if not lane then break end
      found[#found + 1] = claim_lane(request, tenant, lane)
      looks = looks - 1
    end
  end
end

-- Look at lanes until `count` are claimed. Returns them and `more` (another could be claimed),
-- `none`, or `again` (many lanes that have to wait were in front: the caller asks again, so that no
-- call takes long).
local function claim_new(request)
  local found = {}
  local free = count_free(request.queue)
  claim_left(request, found, free)
  for _ = 1, request.max_scans + request.count do
    if #found == request.count then
      return found, next_tenant(request.queue, free - #found) and 'more' or 'none'
    end
    local lane, tenant = next_lane(request.queue, free - #found)
    if lane == nil then return found, 'none' end
    if lane then found[#found + 1] = claim_lane(request, tenant, lane) end
  end
  return found, found[1] and 'more' or 'again'
end

local function claim_heads(request)
  local again = claim_again(request)
  if again then return {'more', again} end
  local found, status = {}, 'none'
  request.versions = versions_left(request.queue, request.knows)
  seen_head = redis.call('LINDEX', PREFIX .. 'rr:tenants:' .. request.queue, 0)
  if request.versions[1] or seen_head then
    -- Claims stop while Supabase is far behind: their results would be seen late.
    if redis.call('XLEN', PREFIX .. 'outbox') >= request.outbox_limit then return {'full', {}} end
    found, status = claim_new(request)
    if found[1] then store_reply(request, found) end
  end
  local bell = PREFIX .. 'bell:' .. request.queue
  -- Lanes that this call made ready need a bell, except those that it claimed. A caller that got
  -- all it asked for wakes the next one while there is more.
  local left = (rung[request.queue] or 0) - #found
  if status == 'none' then
    redis.call('DEL', bell)
    left = 0
  elseif status == 'more' and left < 1 and redis.call('EXISTS', bell) == 0 then
    left = 1
  end
  rung[request.queue] = left > 0 and left or nil
  return {status, found}
end
