-- Append an event to its lane, once.

-- A call that only appends (main_append.lua) gathers what its events write to the same keys, and
-- writes it once, after them; nil in other calls.
local gathered

-- `events`: all that the call appends.
local function gather(events)
  local records = {}
  for i = 1, math.min(#events, MAX_LISTED) do records[i] = PREFIX .. 'event:' .. events[i].id end
  gathered = {
    none_known = #events <= MAX_LISTED and records[1]
      and redis.call('EXISTS', unpack(records)) == 0,
    appended = {}, -- ids of events
    ready = {}, -- queue and tenant -> lanes, and these names in order
    room = {}, -- queue and tenant -> what waits, and how much of it is not written yet
  }
end

-- Have the lanes that became ready stand in their lists. Before a lane is looked for there, too.
local function list_gathered()
  for _, name in ipairs(gathered and gathered.ready or {}) do
    local own = gathered.ready[name]
    for first = 1, #own.lanes, MAX_LISTED do
      local last = math.min(first + MAX_LISTED - 1, #own.lanes)
      redis.call('RPUSH', ready_key(own.queue, own.tenant, NORMAL), unpack(own.lanes, first, last))
    end
    give_turn(own.queue, own.tenant)
  end
  if gathered then gathered.ready = {} end
end

-- The last step of a call that gathers.
local function write_gathered()
  list_gathered()
  for _, own in pairs(gathered.room) do
    if own.events > 0 then
      redis.call('HINCRBY', PREFIX .. 'waiting:' .. own.queue, own.tenant, own.events)
      redis.call('HINCRBY', PREFIX .. 'waiting_bytes:' .. own.queue, own.tenant, own.bytes)
    end
  end
end

-- Have a lane without a place stand last among the ready ones of its level.
local function enter_ready(queue, tenant, lane, level)
  if not gathered or level ~= NORMAL then
    list_gathered()
    return make_ready(queue, tenant, lane, level)
  end
  set_where(queue, tenant, lane, 'ready')
  local name = queue .. ' ' .. tenant
  local own = gathered.ready[name]
  if not own then
    own = {queue = queue, tenant = tenant, lanes = {}}
    gathered.ready[name] = own
    gathered.ready[#gathered.ready + 1] = name
  end
  own.lanes[#own.lanes + 1] = lane
  count_ready(queue)
end

-- The head of a lane waits its turn (workers/send/pacing.lua), and an event of high priority comes
-- behind it: the head is claimed now, since its turn may come sooner.
local function hurry(queue, lane)
  local head = redis.call('LINDEX', PREFIX .. 'lane:' .. lane, 0)
  if head and redis.call('HGET', PREFIX .. 'event:' .. head, 'earliest') then
    redis.call('ZADD', PREFIX .. 'delayed:' .. queue, 'XX', 'LT', now, lane)
  end
end

-- Stand last in the lane; a lane that was empty becomes ready, or due after `delay` ms.
local function push_event(queue, tenant, lane, id, delay, level)
  local count = redis.call('RPUSH', PREFIX .. 'lane:' .. lane, id)
  local state = PREFIX .. 'lane:' .. lane .. ':state'
  local h = redis.call('HMGET', state, 'where', 'high', 'low')
  local high, low = tonumber(h[2] or 0), tonumber(h[3] or 0)
  local before = h[1] == 'ready' and find_level(lane, high, low, count - 1)
  if level then redis.call('HINCRBY', state, level, 1) end
  if level == 'high' then high = high + 1 elseif level == 'low' then low = low + 1 end
  if h[1] and not before then
    if h[1] == 'delayed' and level == 'high' then hurry(queue, lane) end
    return
  end
  local level_now = find_level(lane, high, low, count)
  if before then
    -- Emptied by a late result, or since its events were cancelled, it may stand in any list.
    if count == 1 or level_now ~= before then
      list_gathered()
      raise_ready(queue, tenant, lane, level_now)
    end
  elseif delay > 0 then
    make_delayed(queue, tenant, lane, now + delay)
  else
    enter_ready(queue, tenant, lane, level_now)
  end
end

-- Make the first write of a script: nil when the memory of Redis is full. Later writes succeed.
local function write_first(...)
  local reply = redis.pcall(...)
  if type(reply) == 'number' then return reply end
  if string.find(reply.err, 'OOM', 1, true) then return nil end
  error(reply.err)
end

-- Which limit is passed with `count` events, where there were `before` bytes; nil: none.
local function find_limit(limits, count, before)
  if not limits.waiting_limit then return nil end
  if count > limits.waiting_limit then return 'waiting' end
  return before >= limits.waiting_bytes_limit and 'bytes' or nil
end

-- Count an event that is about to wait. Where it may not, return which limit is reached.
local function reserve_room(event, bytes, limits)
  local name = event.queue .. ' ' .. event.tenant
  local own = gathered and gathered.room[name]
  if own then
    local limit = find_limit(limits, own.count + 1, own.total)
    if limit then return limit end
    own.count, own.total = own.count + 1, own.total + bytes
    own.events, own.bytes = own.events + 1, own.bytes + bytes
    return nil
  end
  local count = write_first('HINCRBY', PREFIX .. 'waiting:' .. event.queue, event.tenant, 1)
  if not count then return 'memory' end
  local total = redis.call('HINCRBY', PREFIX .. 'waiting_bytes:' .. event.queue, event.tenant, bytes)
  local limit = find_limit(limits, count, total - bytes)
  if limit then
    leave_waiting(event.queue, event.tenant, bytes)
  elseif gathered then
    gathered.room[name] = {queue = event.queue, tenant = event.tenant, count = count,
      total = total, events = 0, bytes = 0}
  end
  return limit
end

-- Schedule an event with a later date, or have it stand last in its lane.
local function enter(event, delay)
  if is_later(event.at) then
    enter_schedule(event.queue, event.tenant, event.lane, event.id, event.at)
  else
    push_event(event.queue, event.tenant, event.lane, event.id, delay, event.level)
  end
end

-- Records of an earlier version have the whole hash, or no hash but the identity of a webhook. Those
-- that were recalled from Supabase have none.
local function is_same(known, print)
  return print == '' or known == '' or known == print or string.sub(known, 1, 32) == print
end

-- The fingerprint and the state of an event with this id; nothing of one that is new.
local function read_known(id)
  if gathered and gathered.none_known and not gathered.appended[id] then return {} end
  return redis.call('HMGET', PREFIX .. 'event:' .. id, 'print', 'state')
end

-- `limits`: of outcomes and events that wait, as far as they count for this event.
local function append_event(event, limits)
  local known = read_known(event.id)
  if known[1] then
    if not is_same(known[1], event.print) then return {'conflict'} end
    return {'same', known[2]}
  end
  if limits.outbox_limit and count_outbox() >= limits.outbox_limit then
    return {'full', 'outbox'}
  end
  local bytes = #event.body + event.bytes_beside
  local limit = reserve_room(event, bytes, limits)
  if limit then return {'full', limit} end
  local later = is_later(event.at)
  local record = PREFIX .. 'event:' .. event.id
  redis.call('HSET', record, 'state', 'queued', 'body', event.body, 'lane', event.lane,
    'tenant', event.tenant, 'queue', event.queue, 'gates', event.gates,
    'print', event.print, 'attempts', 0, 'accepted', wall,
    'expires', (later and event.at or wall) + event.max_age, 'bytes', bytes)
  if event.delay > 0 then redis.call('HSET', record, 'due', now + event.delay) end
  if event.level then redis.call('HSET', record, 'level', event.level) end
  if event.v then redis.call('HSET', record, 'v', event.v) end
  enter(event, event.delay)
  add_outcomes(event.tenant, event.outcomes)
  if gathered then gathered.appended[event.id] = true end
  return {'new', later and 'scheduled' or 'queued'}
end
