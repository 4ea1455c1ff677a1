-- Events of a newer version than their claimer knows: their lanes wait for a newer worker.
--
-- Such a lane stands at the gate `newer:{queue}:{version}`. No key closes this gate: a claim by a
-- worker that knows the version takes the lanes there first, tenants in turn, and no other claim
-- comes across them. Everything else, scripts of an earlier release included, sees a lane at a
-- gate, which is looked at again after RECHECK ms in case that its place in a list is lost.

local RECHECK = 3600000
local MAX_LOOKS = 64 -- tenants, or outdated entries of their lists, that one claim passes over

local function newer_gate(queue, version) return 'newer:' .. queue .. ':' .. version end

local function ring_newer(queue, version)
  local bell = PREFIX .. 'newer_bell:' .. queue .. ':' .. version
  if redis.call('LLEN', bell) < BELL_CAP then redis.call('RPUSH', bell, 1) end
end

-- The lane keeps its events, in order; this was no attempt.
local function leave_to_newer(queue, tenant, lane, version)
  local gate, name = newer_gate(queue, version), queue .. ':' .. version
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'gated', 'gate', gate,
    'queue', queue, 'tenant', tenant)
  redis.call('SADD', PREFIX .. 'gated:' .. gate, lane)
  redis.call('ZADD', PREFIX .. 'delayed:' .. queue, now + RECHECK, lane)
  redis.call('SADD', PREFIX .. 'newer:' .. queue, version)
  if redis.call('RPUSH', PREFIX .. 'newer_lanes:' .. name .. ':' .. tenant, lane) == 1 then
    redis.call('RPUSH', PREFIX .. 'newer_turns:' .. name, tenant)
  end
  ring_newer(queue, version)
end

-- Take the next lane of the tenant whose turn it is; an entry of a lane that left is passed over.
local function next_newer(queue, version, free)
  local gate, name = newer_gate(queue, version), queue .. ':' .. version
  local turns = PREFIX .. 'newer_turns:' .. name
  for _ = 1, MAX_LOOKS do
    local tenant = redis.call('LPOP', turns)
    if not tenant then return nil end
    local list, lane = PREFIX .. 'newer_lanes:' .. name .. ':' .. tenant, nil
    if may_take(count_busy(queue, tenant), free) and not find_move(tenant) then
      lane = redis.call('LPOP', list)
    end
    if redis.call('EXISTS', list) == 1 then redis.call('RPUSH', turns, tenant) end
    local state = lane and redis.call('HMGET', PREFIX .. 'lane:' .. lane .. ':state', 'where', 'gate')
    if state and state[1] == 'gated' and state[2] == gate then
      end_delay(queue, lane, gate)
      return lane, tenant
    end
  end
end

-- The versions up to `knows` for which lanes wait.
local function versions_left(queue, knows)
  local found = {}
  if knows < 2 then return found end
  for _, version in ipairs(redis.call('SMEMBERS', PREFIX .. 'newer:' .. queue)) do
    if redis.call('EXISTS', PREFIX .. 'gated:' .. newer_gate(queue, version)) == 0 then
      redis.call('SREM', PREFIX .. 'newer:' .. queue, version)
      redis.call('DEL', PREFIX .. 'newer_bell:' .. queue .. ':' .. version)
    elseif tonumber(version) <= knows then
      found[#found + 1] = version
    end
  end
  return found
end

-- A worker took the bell's token and ended: ring for the lanes that are left.
local function mend_newer_bells(queue)
  for _, version in ipairs(versions_left(queue, math.huge)) do
    if redis.call('EXISTS', PREFIX .. 'newer_bell:' .. queue .. ':' .. version) == 0 then
      ring_newer(queue, version)
    end
  end
end
