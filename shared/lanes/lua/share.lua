-- How many worker threads of a queue each tenant may have.
--
-- A dynamic threshold, by which packets share the buffer of a switch (Choudhury and Hahne, 1998): a
-- tenant with events in work may take one more thread while its threads stay within SHARE times
-- the threads that are free then. A tenant without any may always take one.
--
-- With T threads and n tenants that want all they can get, each has SHARE * f threads where f are
-- free: f = T / (1 + SHARE * n). With SHARE = 4 a tenant that is alone uses 4/5 of the fleet; of
-- 32 threads, 7 stay free beside one such tenant and 4 beside two. Threads are shared among those
-- that want them now, and nobody has to know their number: each tenant's share shrinks as its
-- events end. The last free thread always goes to a tenant that has none.
--
-- Without a registered process the number of threads is unknown, and nothing is limited.

local SHARE = 4

local function count_free(queue)
  local threads = redis.call('HGET', PREFIX .. 'fleet:' .. queue, 'total')
  if not threads then return math.huge end
  return tonumber(threads) - redis.call('ZCARD', PREFIX .. 'leases:' .. queue)
end

local function count_busy(queue, tenant)
  return tonumber(redis.call('HGET', PREFIX .. 'busy:' .. queue, tenant) or 0)
end

local function may_take(busy, free) return busy == 0 or busy + 1 <= SHARE * (free - 1) end

local LOOK_AT_ONCE = 64 -- tenants, by one command

-- How many threads each of these tenants has.
local function list_busy(queue, tenants)
  return redis.call('HMGET', PREFIX .. 'busy:' .. queue, unpack(tenants))
end

-- The tenant whose turn it is; those before it that may take no thread stand aside.
local seen_head -- the first tenant, where this call has just read it
local function next_tenant(queue, free)
  local rotation = PREFIX .. 'rr:tenants:' .. queue
  while true do
    local head = seen_head
    seen_head = nil
    if head and may_take(count_busy(queue, head), free) and not find_move(head) then return head end
    local tenants = redis.call('LRANGE', rotation, 0, LOOK_AT_ONCE - 1)
    if not tenants[1] then return nil end
    local busy, found, passed = list_busy(queue, tenants), nil, {}
    for i, tenant in ipairs(tenants) do
      if may_take(tonumber(busy[i] or 0), free) and not find_move(tenant) then
        found = tenant
        break
      end
      passed[i] = tenant
    end
    if passed[1] then
      redis.call('LTRIM', rotation, #passed, -1)
      redis.call('SREM', PREFIX .. 'rr:tenants:set:' .. queue, unpack(passed))
      redis.call('SADD', PREFIX .. 'aside:' .. queue, unpack(passed))
    end
    if found then return found end
  end
end

-- Let the tenants that stand aside have their turn again, as far as they may take a thread now.
local function return_aside(queue)
  local tenants = redis.call('SMEMBERS', PREFIX .. 'aside:' .. queue)
  local free = tenants[1] and count_free(queue)
  for first = 1, #tenants, LOOK_AT_ONCE do
    local some = {unpack(tenants, first, math.min(first + LOOK_AT_ONCE - 1, #tenants))}
    local returned = {}
    for i, busy in ipairs(list_busy(queue, some)) do
      if may_take(tonumber(busy or 0), free) then returned[#returned + 1] = some[i] end
    end
    if returned[1] then redis.call('SREM', PREFIX .. 'aside:' .. queue, unpack(returned)) end
    for _, tenant in ipairs(returned) do
      if enter_rotation(queue, tenant) then count_ready(queue) end
    end
  end
end

-- The queues of which this call has freed threads. Claims come last in a call, and see who may take
-- one of them.
local freed = {}
local function return_all_aside()
  for queue in pairs(freed) do return_aside(queue) end
end

-- Register the threads of a worker process for `ttl` ms, or remove them (threads = 0).
local function register(args)
  local fleet = PREFIX .. 'fleet:' .. args.queue
  redis.call('HSET', fleet, args.process, args.threads .. ' ' .. now + args.ttl)
  local before = redis.call('HGET', fleet, 'total')
  redis.call('HDEL', fleet, 'total')
  local total = 0
  local found = redis.call('HGETALL', fleet)
  for i = 1, #found, 2 do
    local threads, until_ms = string.match(found[i + 1], '(%d+) (%d+)')
    if threads == '0' or tonumber(until_ms) <= now then
      redis.call('HDEL', fleet, found[i])
    else
      total = total + threads
    end
  end
  if total > 0 then redis.call('HSET', fleet, 'total', total) end
  redis.call('PEXPIRE', fleet, args.ttl)
  if total > tonumber(before or 0) then return_aside(args.queue) end
  return total
end
