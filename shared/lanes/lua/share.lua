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

-- The tenant whose turn it is; those before it that may take no thread stand aside.
local seen_head -- the first tenant, where this call has just read it
local function next_tenant(queue, free)
  local rotation = PREFIX .. 'rr:tenants:' .. queue
  while true do
    local tenant = seen_head or redis.call('LINDEX', rotation, 0)
    seen_head = nil
    if not tenant then return nil end
    if may_take(count_busy(queue, tenant), free) and not find_move(tenant) then return tenant end
    redis.call('LPOP', rotation)
    redis.call('SREM', PREFIX .. 'rr:tenants:set:' .. queue, tenant)
    redis.call('SADD', PREFIX .. 'aside:' .. queue, tenant)
  end
end

-- Let the tenants that stand aside have their turn again: a thread became free. Claims, which put
-- tenants aside, come last in a call, so once is enough.
local returned = {}
local function return_aside(queue)
  if returned[queue] then return end
  returned[queue] = true
  local tenants = redis.call('SMEMBERS', PREFIX .. 'aside:' .. queue)
  if not tenants[1] then return end
  redis.call('DEL', PREFIX .. 'aside:' .. queue)
  for _, tenant in ipairs(tenants) do
    if enter_rotation(queue, tenant) then count_ready(queue) end
  end
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
