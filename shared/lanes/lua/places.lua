-- The places of a lane, and the bells of the queues. The files beside this one build on it.
--
-- KEYS[1] is the prefix of every key below. Times are in ms: of leases, delays and gates by the
-- clock of the lanes (clock.lua), all others by the server's wall clock. Every command may be
-- sent twice, because its reply was lost, and has one effect. Any key may be missing, after a
-- partial restore: that costs what the key held, and no script fails for it.
--
--   event:{id}              hash    state scheduled|queued|claimed|sent|failed|cancelled|unknown|
--                                   done, body, bytes, lane, tenant, queue, gates, attempts, fence,
--                                   accepted, expires, due, reason, print, settled, by (the fence
--                                   and state that ended the last claim), unexpected_errors,
--                                   resends, lost_leases (claims in a row that ended without a
--                                   result), file_task (the part that went out), level
--                                   (high|low), send_at and order (of a scheduled event), v (its
--                                   version, if that is not 1), + the
--                                   handler's fields; of a settled event what `keep_record` keeps
--   lane:{lane}             list    event ids, oldest first
--   lane:{lane}:state       hash    where ready|claimed|delayed|gated, fence, gate, queue, tenant,
--                                   high and low: how many events of these levels it has,
--                                   twice: it may stand in two lists of ready lanes
--   ready:{queue}:{tenant}  list    lanes to be claimed, in turn (ready.lua)
--   ready_high:{queue}:{tenant}, ready_low:{queue}:{tenant}
--                           list    the same of the levels high and low
--   levels:{queue}          hash    tenant with ready lanes of these levels -> claims since
--   rr:tenants:{queue}      list    tenants with ready lanes, in turn (round robin);
--                                   rr:tenants:set:{queue} has the same members
--   aside:{queue}           set     tenants with ready lanes that may take no thread now
--   fleet:{queue}           hash    worker process -> its threads, until when; total -> all threads
--   busy:{queue}            hash    tenant -> lanes claimed now
--   waiting:{queue}         hash    tenant -> events in lanes
--   waiting_bytes:{queue}   hash    tenant -> bytes of these events
--   leases:{queue}          zset    claimed lane -> end of its lease
--   delayed:{queue}         zset    postponed lane -> due time
--   scheduled:{queue}       zset    event that is to be sent later -> when, by the wall clock
--   schedule_order          string  counter of such events
--   gate:{name}             string  why it is closed, with a TTL
--   gate_ends               zset    closed gate -> until when
--   gated:{name}            set     lanes that wait at the gate
--   newer:{queue}           set     versions of events for whose workers lanes wait (newer.lua)
--   newer_lanes:{queue}:{version}:{tenant}
--                           list    such lanes; newer_turns:{queue}:{version} the tenants, in turn;
--                                   newer_bell:{queue}:{version} tokens for their workers
--   bell:{queue}            list    a token for each lane that became ready; consumers block on it
--   stop_bell:{consumer}    list    a token that wakes one consumer, which blocks on it too
--   reply:{sequence}        string  last claims of a claim sequence, to repeat a lost reply
--   unknown:{lane}          set     events of the lane whose effect is unknown
--   unknown_of:{tenant}     zset    the same of a tenant -> since when
--   unknown_tenants         set     tenants that have such events
--   lost:{queue}            list    JSON of events that were lost, and why; the sweeper tells of them
--   lost_events             hash    queue -> how many events had no record
--   moving                  hash    tenant that moves, or has moved, to another Redis -> paused|closed
--   fence                   string  counter of claims: a later claim has a higher fence
--   outbox                  stream  outcomes on their way to Supabase
--   outbox:ids:{tenant}     list    those of the tenant that no recorder has taken, oldest first
--   outbox:turns            list    tenants with such outcomes, in turn
--   outbox:taken            zset    outcome that a recorder has taken -> when
--   outbox:newer            zset    outcome that waits for a newer recorder -> its version
--   outbox:bell             list    tokens that wake recorders
--   last_sweep              string  time of the last sweep
--   clock                   hash    the clock of the lanes beside the wall clock

local PREFIX = KEYS[1]
local BELL_CAP = 64 -- tokens; each wakes a process, which claims for all of its free threads
local RECORDER_BELL_CAP = 8
local MAX_LISTED = 1000 -- outcomes of one command: a function of Lua takes so many arguments at most
local wall, now, is_stored = read_clock(PREFIX .. 'clock')
local outbox_length -- as far as this call has asked for it
local rung = {} -- queue -> lanes that became ready during this call

local function count_ready(queue) rung[queue] = (rung[queue] or 0) + 1 end

local function ring_bells()
  for queue, count in pairs(rung) do
    local bell = PREFIX .. 'bell:' .. queue
    local free = BELL_CAP - redis.call('LLEN', bell)
    for _ = 1, math.min(count, free) do redis.call('RPUSH', bell, 1) end
  end
end

-- The last step of every script: its earlier writes have passed Redis' check of its memory.
local function store_clock()
  if not is_stored then redis.pcall('HSET', PREFIX .. 'clock', 'wall', wall, 'lanes', now) end
end

local function set_where(queue, tenant, lane, value)
  redis.call('HSET', PREFIX .. 'lane:' .. lane .. ':state', 'where', value, 'queue', queue,
    'tenant', tenant)
end

-- The tenant of a lane whose state is missing: that of its first event, or ''.
local function find_tenant(lane)
  local id = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  return id and redis.call('HGET', PREFIX .. 'event:' .. id, 'tenant') or ''
end

-- An event stands in a lane: count it, and the bytes that were counted when it was accepted.
local function enter_waiting(queue, tenant, bytes)
  redis.call('HINCRBY', PREFIX .. 'waiting:' .. queue, tenant, 1)
  redis.call('HINCRBY', PREFIX .. 'waiting_bytes:' .. queue, tenant, bytes)
end

-- An event is in no lane any more. Without its record, its bytes are those of an average event.
local function leave_waiting(queue, tenant, bytes)
  local left = redis.call('HINCRBY', PREFIX .. 'waiting:' .. queue, tenant, -1)
  local total = PREFIX .. 'waiting_bytes:' .. queue
  if left <= 0 then
    redis.call('HDEL', PREFIX .. 'waiting:' .. queue, tenant)
    redis.call('HDEL', total, tenant)
    return
  end
  bytes = bytes or math.floor((redis.call('HGET', total, tenant) or 0) / (left + 1))
  if bytes > 0 and redis.call('HINCRBY', total, tenant, -bytes) < 0 then
    redis.call('HDEL', total, tenant)
  end
end

-- Have the sweeper tell of an event that is lost, and why.
local function report_lost(queue, tenant, lane, id, why)
  redis.call('RPUSH', PREFIX .. 'lost:' .. queue,
    cjson.encode({id = id, lane = lane, tenant = tenant, why = why}))
end

-- Have outcomes of the outbox taken in the tenant's turn (main_outbox_take.lua).
local function list_outcomes(tenant, ids)
  if redis.call('RPUSH', PREFIX .. 'outbox:ids:' .. tenant, unpack(ids)) == #ids then
    redis.call('RPUSH', PREFIX .. 'outbox:turns', tenant)
    local bell = PREFIX .. 'outbox:bell'
    if redis.call('LLEN', bell) < RECORDER_BELL_CAP then redis.call('RPUSH', bell, 1) end
  end
end

local unlisted, unlisted_tenants = {}, {} -- tenant -> outcomes that this call has added

local function list_added(tenant)
  list_outcomes(tenant, unlisted[tenant])
  unlisted[tenant] = nil
end

-- List what `add_outcomes` has added: every script that adds does so before it ends.
local function list_all_added()
  for _, tenant in ipairs(unlisted_tenants) do
    if unlisted[tenant] then list_added(tenant) end
  end
end

local function add_outcomes(tenant, rows)
  tenant = tenant or ''
  for _, row in ipairs(rows or {}) do
    local ids = unlisted[tenant]
    if not ids then
      ids = {}
      unlisted[tenant] = ids
      unlisted_tenants[#unlisted_tenants + 1] = tenant
    end
    ids[#ids + 1] = redis.call('XADD', PREFIX .. 'outbox', '*', 'r', row)
    if #ids == MAX_LISTED then list_added(tenant) end
  end
  if outbox_length then outbox_length = outbox_length + #(rows or {}) end
end

-- How many outcomes wait for Supabase.
local function count_outbox()
  outbox_length = outbox_length or redis.call('XLEN', PREFIX .. 'outbox')
  return outbox_length
end

local function set_fields(id, fields)
  for name, value in pairs(fields or {}) do
    redis.call('HSET', PREFIX .. 'event:' .. id, name, value)
  end
end
