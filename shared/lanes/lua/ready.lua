-- Ready lanes, and the levels of priority in which those of a tenant are claimed.
--
-- A lane has the level of its highest event: a one-time code lifts what stands before it in its
-- conversation. Lanes of the level normal stand in `ready`. While others of the tenant are ready,
-- `ready` begins with MARK, so that a tenant without any costs no command for levels.

local MARK = '' -- no lane has this name
local NORMAL = 'normal'
local LOOK_AT = 5000 -- ready lanes among which a lane is found whose level rises
local RANK = {high = 3, normal = 2, low = 1}
local HIGH_FIRST, NORMAL_FIRST, LOW_FIRST =
  {'high', NORMAL, 'low'}, {NORMAL, 'high', 'low'}, {'low', NORMAL, 'high'}

local function ready_key(queue, tenant, level)
  local name = level == NORMAL and 'ready:' or 'ready_' .. level .. ':'
  return PREFIX .. name .. queue .. ':' .. tenant
end

-- Which level is looked at first: of ten claims one begins with low, another one with normal.
local function choose_order(turn)
  if turn % 10 == 0 then return LOW_FIRST end
  return turn % 5 == 0 and NORMAL_FIRST or HIGH_FIRST
end

-- The level of a lane with so many events of the levels high and low; of `count` events in all.
local function find_level(lane, high, low, count)
  if tonumber(high or 0) > 0 then return 'high' end
  low = tonumber(low or 0)
  if low == 0 then return NORMAL end
  return (count or redis.call('LLEN', PREFIX .. 'lane:' .. lane)) <= low and 'low' or NORMAL
end

-- Give a tenant its turn; return whether it had none.
local function give_turn(queue, tenant)
  if redis.call('SADD', PREFIX .. 'rr:tenants:set:' .. queue, tenant) == 0 then return false end
  redis.call('RPUSH', PREFIX .. 'rr:tenants:' .. queue, tenant)
  return true
end

-- How many of the lists of a tenant's ready lanes exist.
local function count_lists(queue, tenant)
  return redis.call('EXISTS', ready_key(queue, tenant, NORMAL), ready_key(queue, tenant, 'high'),
    ready_key(queue, tenant, 'low'))
end

-- The same for a tenant that may have no ready lanes.
local function enter_rotation(queue, tenant)
  return count_lists(queue, tenant) > 0 and give_turn(queue, tenant)
end

-- Have the tenant's next claim look at all levels.
local function mark(queue, tenant)
  local normal = ready_key(queue, tenant, NORMAL)
  if redis.call('LINDEX', normal, 0) ~= MARK then redis.call('LPUSH', normal, MARK) end
end

local function list_ready(queue, tenant, lane, level)
  redis.call('RPUSH', ready_key(queue, tenant, level), lane)
  if level == NORMAL then return end
  redis.call('HSETNX', PREFIX .. 'levels:' .. queue, tenant, 0)
  mark(queue, tenant)
end

local function make_ready(queue, tenant, lane, level)
  set_where(queue, tenant, lane, 'ready')
  list_ready(queue, tenant, lane, level)
  give_turn(queue, tenant)
  count_ready(queue)
end

-- A ready lane may have risen to `level`: it may stand in any list, after the event that lifted it
-- was cancelled. Behind LOOK_AT others it stays where it was as well: whoever comes to it there
-- sees by its first event whether that has to wait, for which `twice` has every postponement note
-- its end.
local function raise_ready(queue, tenant, lane, level)
  for _, each in ipairs(HIGH_FIRST) do
    local list = ready_key(queue, tenant, each)
    if redis.call('LPOS', list, lane, 'MAXLEN', LOOK_AT) then
      if RANK[each] >= RANK[level] then return end
      redis.call('LREM', list, 1, lane)
      return list_ready(queue, tenant, lane, level)
    end
  end
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'twice', 1)
  list_ready(queue, tenant, lane, level)
end

-- Take the next ready lane of a tenant that has lanes of several levels; false: it has none.
local function pop_by_level(queue, tenant)
  local turn = redis.call('HINCRBY', PREFIX .. 'levels:' .. queue, tenant, 1)
  local lane = false
  for _, level in ipairs(choose_order(turn)) do
    lane = redis.call('LPOP', ready_key(queue, tenant, level))
    if lane then break end
  end
  local high, low = ready_key(queue, tenant, 'high'), ready_key(queue, tenant, 'low')
  if redis.call('EXISTS', high, low) > 0 then
    mark(queue, tenant)
  else
    redis.call('HDEL', PREFIX .. 'levels:' .. queue, tenant)
  end
  return lane
end

-- Take the next ready lane of a tenant. The list may lack the mark, after a worker of an earlier
-- version took it.
local function pop_ready(queue, tenant)
  local lane = redis.call('LPOP', ready_key(queue, tenant, NORMAL))
  if lane and lane ~= MARK then return lane end
  return pop_by_level(queue, tenant)
end

-- A worker of an earlier version knows nothing of levels: it takes the mark for a lane, and a tenant
-- whose other list is empty out of the rotation. Returns the tenants with lanes of several levels.
local function mend_levels(queue)
  local levelled = {}
  for _, tenant in ipairs(redis.call('HRANDFIELD', PREFIX .. 'levels:' .. queue, BELL_CAP)) do
    mark(queue, tenant)
    enter_rotation(queue, tenant)
    levelled[tenant] = true
  end
  return levelled
end

-- How many ready lanes a tenant has; `levelled` as `mend_levels` returns it.
local function count_lanes(queue, tenant, levelled)
  local count = redis.call('LLEN', ready_key(queue, tenant, NORMAL))
  if not levelled[tenant] then return count end
  return count - 1 + redis.call('LLEN', ready_key(queue, tenant, 'high'))
    + redis.call('LLEN', ready_key(queue, tenant, 'low'))
end

local function make_delayed(queue, tenant, lane, due)
  set_where(queue, tenant, lane, 'delayed')
  redis.call('ZADD', PREFIX .. 'delayed:' .. queue, due, lane)
end

-- End the waiting of a lane that is postponed or stands at `gate`.
local function end_delay(queue, lane, gate)
  redis.call('ZREM', PREFIX .. 'delayed:' .. queue, lane)
  if gate then
    redis.call('SREM', PREFIX .. 'gated:' .. gate, lane)
    redis.call('HDEL', PREFIX .. 'lane:' .. lane .. ':state', 'gate')
  end
end

-- Place a lane that has no place: due in `delay` ms, ready at once, or gone when it is empty. `high`
-- and `low`: how many events of these levels it has. Returns whether it is ready.
local function place_lane(queue, tenant, lane, delay, high, low)
  local count = redis.call('LLEN', PREFIX .. 'lane:' .. lane)
  if count == 0 then
    redis.call('DEL', PREFIX .. 'lane:' .. lane .. ':state')
  elseif delay and delay > 0 then
    make_delayed(queue, tenant, lane, now + delay)
  else
    make_ready(queue, tenant, lane, find_level(lane, high, low, count))
    return true
  end
  return false
end

-- An event with this level has left the lane; return how many of the level remain.
local function uncount_level(lane, level)
  local state = PREFIX .. 'lane:' .. lane .. ':state'
  local left = redis.call('HINCRBY', state, level, -1)
  if left <= 0 then redis.call('HDEL', state, level) end
  return left
end
