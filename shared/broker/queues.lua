-- Dramatiq's queues: nothing enqueued is lost, and each message is in exactly one place.
--
-- ARGV[1] command, ARGV[2..] its arguments; KEYS[1] the namespace of every key below.
-- Times are the server's, in ms. Every command may be sent twice: nothing happens the second time.
--
--   {queue}           list   ids waiting, next one first
--   {queue}.DQ        zset   id -> when it is due
--   {queue}.msgs      hash   id -> message, from enqueue to acknowledgement, wherever its id is
--   {queue}.bell      list   one token while there is something to fetch: idle workers block on it
--   {queue}.DQ.bell   list   one token when a message became the next one due
--   {queue}.XQ        zset   dead letters: id -> when it was rejected; {queue}.XQ.msgs their messages
--   held:{worker}     hash   id -> queue: fetched and not settled
--   alive:workers     zset   worker -> its last heartbeat, for as long as it may hold something
--   poke:{worker}     list   its own bell, to be woken by its own threads
--   recent:{minute}   set    ids enqueued in that minute: a repeated enqueue is known even after the message is done
--   alive:ticked      string when any worker last ticked

local P = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local function messages(queue) return P .. queue .. '.msgs' end
local function held(worker) return P .. 'held:' .. worker end

local function ring(queue)
  local bell = P .. queue .. '.bell'
  if redis.call('EXISTS', bell) == 0 then redis.call('LPUSH', bell, 1) end
end

-- True for an id that was enqueued within the last one to two minutes; longer than any client repeats a command.
local function repeated(id)
  local minute = math.floor(now / 60000)
  local recent = P .. 'recent:' .. minute
  if redis.call('SISMEMBER', P .. 'recent:' .. minute - 1, id) == 1 or redis.call('SADD', recent, id) == 0 then
    return true
  end
  redis.call('EXPIRE', recent, 150)
  return false
end

local function give_up(worker, id, queue)
  redis.call('HDEL', held(worker), id)
  redis.call('HDEL', messages(queue), id)
end

-- Back to the head of their queues, in the order of `ids`. What was acknowledged or purged meanwhile is dropped.
local function hand_back(worker, ids)
  for i = #ids, 1, -1 do
    local queue = redis.call('HGET', held(worker), ids[i])
    if queue then
      redis.call('HDEL', held(worker), ids[i])
      if redis.call('HEXISTS', messages(queue), ids[i]) == 1 then
        redis.call('LPUSH', P .. queue, ids[i])
        ring(queue)
      end
    end
  end
end

-- Take over from workers that went silent. When nobody at all has ticked for that long, it was Redis that was away,
-- not the workers: each gets its time again, or the first one back would take what the others are working on.
local function bury(timeout)
  local last = tonumber(redis.call('GET', P .. 'alive:ticked') or now)
  redis.call('SET', P .. 'alive:ticked', now)
  if now - last > timeout then
    for _, worker in ipairs(redis.call('ZRANGE', P .. 'alive:workers', 0, -1)) do
      redis.call('ZADD', P .. 'alive:workers', now, worker)
    end
  end
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'alive:workers', '-inf', now - timeout)) do
    hand_back(worker, redis.call('HKEYS', held(worker)))
    redis.call('DEL', held(worker), P .. 'poke:' .. worker)
    redis.call('ZREM', P .. 'alive:workers', worker)
  end
end

local function promote(queue)
  local due = redis.call('ZRANGEBYSCORE', P .. queue .. '.DQ', '-inf', now, 'LIMIT', 0, 1000)
  for _, id in ipairs(due) do
    redis.call('ZREM', P .. queue .. '.DQ', id)
    if redis.call('HEXISTS', messages(queue), id) == 1 then redis.call('RPUSH', P .. queue, id) end
  end
  if redis.call('EXISTS', P .. queue) == 1 then ring(queue) end -- also mends a bell whose ringing was lost
  local next_due = redis.call('ZRANGE', P .. queue .. '.DQ', 0, 0, 'WITHSCORES')[2]
  return next_due and math.max(0, next_due - now)
end

local function forget_dead_letters(queue, ttl)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. queue .. '.XQ', '-inf', now - ttl, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', P .. queue .. '.XQ', id)
    redis.call('HDEL', P .. queue .. '.XQ.msgs', id)
  end
end

local commands = {}

-- 1 when it is new. `unless_depth` >= 0: not if so many are waiting already. `wanted`: the name of a counter, of which
-- one is used up; not if none is left. `replaces`, held by `worker`, is the attempt that this message follows: it ends
-- in the same step, so a retry is neither lost nor doubled.
function commands.enqueue(queue, id, message, delay, unless_depth, worker, replaces, wanted)
  if replaces ~= '' then give_up(worker, replaces, queue) end
  if wanted ~= '' and tonumber(redis.call('GET', wanted) or 0) <= 0 then return 0 end
  unless_depth = tonumber(unless_depth)
  if unless_depth >= 0 and redis.call('LLEN', P .. queue) >= unless_depth then return 0 end
  if repeated(id) or redis.call('HSETNX', messages(queue), id, message) == 0 then return 0 end
  if wanted ~= '' then redis.call('DECR', wanted) end
  if tonumber(delay) > 0 then
    redis.call('ZADD', P .. queue .. '.DQ', now + delay, id)
    if redis.call('ZRANK', P .. queue .. '.DQ', id) == 0 then ring(queue .. '.DQ') end
  else
    redis.call('RPUSH', P .. queue, id)
    ring(queue)
  end
  return 1
end

-- Up to `room` messages as id, message, id, message, …; fewer only if the queue is empty now.
function commands.fetch(queue, worker, room)
  redis.call('ZADD', P .. 'alive:workers', now, worker)
  local found = {}
  while #found < 2 * room do
    local id = redis.call('LPOP', P .. queue)
    if not id then break end
    local message = redis.call('HGET', messages(queue), id)
    if message then
      redis.call('HSET', held(worker), id, queue)
      found[#found + 1] = id
      found[#found + 1] = message
    end
  end
  -- The bell is there exactly while the queue is not empty: who fetched some calls the next worker for the rest.
  if redis.call('EXISTS', P .. queue) == 1 then ring(queue) else redis.call('DEL', P .. queue .. '.bell') end
  return found
end

-- It is done, even if this worker was given up for dead meanwhile: whoever has the id next finds no message.
function commands.ack(queue, worker, id) give_up(worker, id, queue) end

function commands.nack(queue, worker, id)
  local message = redis.call('HGET', messages(queue), id)
  if message then
    redis.call('ZADD', P .. queue .. '.XQ', now, id)
    redis.call('HSET', P .. queue .. '.XQ.msgs', id, message)
  end
  give_up(worker, id, queue)
end

function commands.requeue(worker, ...) hand_back(worker, { ... }) end

-- A worker's heartbeat, and its share of the housekeeping. Returns ms until something is due in one of its queues
-- (-1: nothing is delayed), then every id that it holds.
function commands.tick(worker, heartbeat_timeout, dead_letter_ttl, ...)
  redis.call('ZADD', P .. 'alive:workers', now, worker)
  bury(tonumber(heartbeat_timeout))
  local due = -1
  for _, queue in ipairs({ ... }) do
    forget_dead_letters(queue, dead_letter_ttl)
    local next_due = promote(queue)
    if next_due and (due < 0 or next_due < due) then due = next_due end
  end
  local reply = redis.call('HKEYS', held(worker))
  table.insert(reply, 1, due)
  return reply
end

-- An orderly end. What it still holds is taken over once its heartbeats stay away.
function commands.leave(worker)
  redis.call('DEL', P .. 'poke:' .. worker)
  if redis.call('EXISTS', held(worker)) == 0 then redis.call('ZREM', P .. 'alive:workers', worker) end
end

-- A worker that cannot use what it was called for calls the next one.
function commands.pass_on(queue)
  if redis.call('EXISTS', P .. queue) == 1 then ring(queue) end
end

function commands.purge(queue)
  for _, kind in ipairs({ '', '.DQ', '.msgs', '.XQ', '.XQ.msgs', '.bell', '.DQ.bell' }) do
    redis.call('UNLINK', P .. queue .. kind)
  end
end

-- Wakes whoever of this worker blocks on its bells.
function commands.poke(worker)
  redis.call('LPUSH', P .. 'poke:' .. worker, 1)
  redis.call('EXPIRE', P .. 'poke:' .. worker, 60)
end

-- With its memory full, Redis refuses a script whose first write asks for more: so it does with new messages, unless
-- they are bounded in number (wake-ups) or take another's place. All else has to go on, or nothing would make room again.
local command, unless_depth, replaces = ARGV[1], tonumber(ARGV[6]), ARGV[8]
if command ~= 'enqueue' or unless_depth >= 0 or replaces ~= '' then redis.call('DEL', P .. 'nothing') end
return commands[command](unpack(ARGV, 2))
