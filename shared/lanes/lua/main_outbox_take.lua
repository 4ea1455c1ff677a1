-- Take outcomes from the outbox, each tenant in turn: one tenant's backlog delays no other's rows.
--
-- ARGV: 'any', or 'new' for a batch that has begun; outcomes at most; bytes of the batch at most, and those that it has;
-- the time (ms) after which a taken outcome that is still there was abandoned by its recorder.
-- Returns whether they were abandoned (a batch of their own), then id, row, id, row, … A row that is
-- longer than the bytes is a batch of its own.
local QUANTUM = 20 -- outcomes of a tenant before the next one's turn
local MAX_REFUSED = 50 -- tenants whose next outcome does not fit in, before the batch ends
local OUTBOX, TAKEN = PREFIX .. 'outbox', PREFIX .. 'outbox:taken'
local NEWER = PREFIX .. 'outbox:newer' -- those that wait for a newer recorder
local TURNS = PREFIX .. 'outbox:turns'
local max_rows, max_bytes, abandoned = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local batch, rows, bytes = {}, 0, tonumber(ARGV[4])
local taken = {} -- arguments of one ZADD for the whole batch

-- Add an outcome to the batch; false when it does not fit in.
local function take(id)
  local entry = redis.call('XRANGE', OUTBOX, id, id)[1]
  if not entry then
    redis.call('ZREM', TAKEN, id)
    return true
  end
  local row = entry[2][2]
  if rows >= max_rows or (bytes > 0 and bytes + #row > max_bytes) then return false end
  taken[#taken + 1], taken[#taken + 2] = now, id
  batch[#batch + 1], batch[#batch + 2] = id, row
  rows, bytes = rows + 1, bytes + #row
  return true
end

local function take_abandoned()
  local ids = redis.call('ZRANGEBYSCORE', TAKEN, '-inf', now - abandoned, 'LIMIT', 0, max_rows)
  for _, id in ipairs(ids) do
    if not take(id) then return end
  end
end

-- Take up to QUANTUM outcomes of a tenant. Returns how many, whether the next did not fit in, and
-- whether there may be more.
local function take_turn(own)
  local ids = redis.call('LRANGE', own, 0, QUANTUM - 1)
  local count = 0
  while count < #ids and take(ids[count + 1]) do count = count + 1 end
  if count > 0 then redis.call('LPOP', own, count) end
  return count, count < #ids, #ids == QUANTUM
end

-- Go round the tenants. One whose next outcome does not fit in leaves the room to the others: the
-- next batch begins with it if it took nothing from this one.
local function take_turns()
  local first, last = {}, {}
  while rows < max_rows and #first + #last < MAX_REFUSED do
    local tenant = redis.call('LPOP', TURNS)
    if not tenant then break end
    local own = PREFIX .. 'outbox:ids:' .. tenant
    local count, is_full, may_go_on = take_turn(own)
    if not is_full then
      if may_go_on and redis.call('EXISTS', own) == 1 then redis.call('RPUSH', TURNS, tenant) end
    elseif count == 0 then
      first[#first + 1] = tenant
    else
      last[#last + 1] = tenant
    end
  end
  for i = #first, 1, -1 do redis.call('LPUSH', TURNS, first[i]) end
  for _, tenant in ipairs(last) do redis.call('RPUSH', TURNS, tenant) end
  -- With nothing left, the tokens of what is in the batch would wake recorders for nothing.
  if redis.call('EXISTS', TURNS) == 0 then redis.call('DEL', PREFIX .. 'outbox:bell') end
end

-- Take outcomes that stand in no list: those of an older version, or of a restored stream alone.
local function take_unlisted()
  local listed = redis.call('ZCARD', TAKEN) + redis.call('ZCARD', NEWER)
  if redis.call('XLEN', OUTBOX) <= listed then return end
  for _, entry in ipairs(redis.call('XRANGE', OUTBOX, '-', '+', 'COUNT', listed + max_rows)) do
    local id = entry[1]
    local is_listed = redis.call('ZSCORE', TAKEN, id) or redis.call('ZSCORE', NEWER, id)
    if not is_listed and not take(id) then return end
  end
end

redis.call('DEL', PREFIX .. 'nothing') -- see main_operate.lua
if ARGV[1] == 'any' then take_abandoned() end
local is_abandoned = rows > 0 and 1 or 0
if rows == 0 then take_turns() end
if rows == 0 then take_unlisted() end
if taken[1] then redis.call('ZADD', TAKEN, unpack(taken)) end
store_clock()
return {is_abandoned, batch}
