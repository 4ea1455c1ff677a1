-- Gives a message its turn (pacing.py). Times in ms of the lanes' clock, days and contacts by `wall`.
--
--   KEYS[1]  clock      the clock of the lanes
--   KEYS[2]  number     hash, for each level 1..3: free = when its bucket is full again, last = its
--                       last turn, debt = tokens that higher levels took from its turns
--   KEYS[3]  turns      zset: message that waits -> its turn
--   KEYS[4]  recipient  string: when the person's bucket is full again
--   KEYS[5]  contact    string: when the person wrote last, or known, or stranger; asked when
--   KEYS[6]  paced      zset: number with messages that wait -> its last turn
--   KEYS[7]  strangers  set: new people to whom the number writes today
--   KEYS[8]  left       hash: number -> new people that are left of today's budget
--   KEYS[9]  tomorrow   zset: message that waits for the next day -> when it begins
--   KEYS[10] lane       hash: high = how many messages of high priority wait in its lane
--
-- ARGV[1]: JSON of `pacing.Request`. Returns {what, wait, a number for the sentence, whether to tell}:
-- go, ask (the caller looks up the contact), number, recipient, late or budget.

local GRACE, DAY, KEEP = 15000, 86400000, 60000
local FRESH = 60000 -- how long what Supabase said of a contact is not asked again
local REPLY, STRANGER, HIGH = 0.25, 2, 3
local wall, now = read_clock(KEYS[1])
local r = cjson.decode(ARGV[1])
local _, number_key, turns, recipient_key, contact_key, paced, strangers, left_key, tomorrow,
  lane_key = unpack(KEYS)

local function seen(value) return string.format('%.0f', value) end
local function keep_turns(time)
  redis.call('PEXPIRE', turns, seen(math.max(redis.call('PTTL', turns), time + GRACE + KEEP)))
end

if r.keep then -- a message that had its turn goes out later
  redis.call('ZADD', turns, seen(now + r.keep), r.id)
  keep_turns(r.keep)
  return {'go', 0, 0, 0}
end

local turn = tonumber(redis.call('ZSCORE', turns, r.id) or 0)
local has_turn = turn > 0 and now <= turn + GRACE

local function keep_contact(contact)
  redis.call('SET', contact_key, contact .. ' ' .. seen(wall), 'EX', DAY / 1000)
end

-- What is known of the person; nil: the caller has to ask Supabase.
local function find_contact()
  if not r.by_contact then return 'known' end
  if r.contact ~= '' then
    keep_contact(r.contact)
    return r.contact
  end
  local stored = redis.call('GET', contact_key) or ''
  local contact, asked = string.match(stored, '^(%S+) (%d+)$')
  local is_fresh = contact and (has_turn or math.abs(wall - asked) < FRESH)
  if r.ask and not is_fresh then return nil end
  return contact or 'stranger'
end

local contact = find_contact()
if not contact then return {'ask', 0, 0, 0} end
local is_stranger = contact == 'stranger'
local is_reply = tonumber(contact) and wall - tonumber(contact) < DAY
local is_urgent = r.priority == HIGH or tonumber(redis.call('HGET', lane_key, 'high') or 0) > 0
local level = is_urgent and HIGH or math.min(HIGH, r.priority + (is_reply and 1 or 0))
local cost = r.size * (is_reply and REPLY or is_stranger and STRANGER or 1)

local free, last, debt = {}, {}, {}
local h = redis.call('HMGET', number_key, 'free1', 'free2', 'free3', 'last1', 'last2', 'last3',
  'debt1', 'debt2', 'debt3')
for k = 1, HIGH do
  free[k], last[k], debt[k] = tonumber(h[k] or 0), tonumber(h[k + 3] or 0), tonumber(h[k + 6] or 0)
  if last[k] <= now and debt[k] > 0 then -- no turn is left that could pay
    free[k], debt[k] = math.max(free[k], now) + debt[k] * r.token, 0
  end
end

local function save_number()
  local flat, longest = {}, now
  for k = 1, HIGH do
    for name, value in pairs({free = free[k], last = last[k]}) do
      flat[#flat + 1] = name .. k
      flat[#flat + 1] = seen(value)
      longest = math.max(longest, value)
    end
    flat[#flat + 1] = 'debt' .. k
    flat[#flat + 1] = string.format('%.3f', debt[k])
  end
  redis.call('HSET', number_key, unpack(flat))
  redis.call('PEXPIRE', number_key, seen(longest - now + KEEP))
end

-- A new person within today's budget of a warm-up: true. Else how long they wait, the budget, and
-- whether the first of today does.
local function spend_budget()
  local start = r.day_start
  local today = math.floor((wall - start) / DAY)
  local age = math.max(0, today - math.floor((r.warm_up_from - start) / DAY))
  local budget = r.warm_up[age + 1]
  if not budget or redis.call('SISMEMBER', strangers, r.to) == 1 then return true end
  local ends = (today + 1) * DAY + start
  local used = redis.call('SCARD', strangers)
  local is_over = used >= budget
  local known = redis.call('HGET', left_key, r.number)
  if not is_over then
    redis.call('SADD', strangers, r.to)
    redis.call('PEXPIREAT', strangers, seen(ends))
  end
  redis.call('HSET', left_key, r.number, is_over and -1 or budget - used - 1)
  redis.call('PEXPIREAT', left_key, seen(ends))
  if is_over then
    redis.call('ZADD', tomorrow, seen(ends), r.id)
    redis.call('PEXPIREAT', tomorrow, seen(ends))
    return false, ends - wall + r.spread, budget, known ~= '-1'
  end
  return true
end

local function go()
  redis.call('ZREM', turns, r.id)
  if is_stranger then keep_contact('known') end
  if r.to_token > 0 then
    local full = math.max(now, tonumber(redis.call('GET', recipient_key) or 0)) + r.to_token * r.jitter
    redis.call('SET', recipient_key, seen(full), 'PX', seen(full - now))
  end
  return {'go', 0, 0, 0}
end

-- When the number, and the person, may have the next message.
local function find_turn()
  local of_number, of_person = now, now
  if r.token > 0 then
    of_number = math.max(now, free[level] - math.max(0, r.burst - cost) * r.token)
  end
  if r.to_token > 0 and not is_urgent then
    local full = tonumber(redis.call('GET', recipient_key) or 0)
    of_person = math.max(now, full - (r.to_burst - 1) * r.to_token)
  end
  return math.max(of_number, of_person), of_person > of_number and 'recipient' or 'number'
end

-- Lower levels pay with turns that they have given already, else with later ones.
local function take_tokens(turn)
  for k = 1, r.token > 0 and level or 0 do
    if k < level and last[k] > turn then
      debt[k] = debt[k] + cost
    else
      free[k] = math.max(free[k], now) + cost * r.token * r.jitter
    end
  end
end

if has_turn and turn > now then
  local sooner = is_urgent and find_turn() or turn
  if sooner >= turn then return {'number', math.ceil(turn - now), 0, 0} end
  free[HIGH] = math.max(free[HIGH], now) + cost * r.token * r.jitter -- its own later turn pays
  turn = sooner
  redis.call('ZADD', turns, seen(turn), r.id)
  save_number()
  if turn > now then return {'number', math.ceil(turn - now), 0, 0} end
end
local gives_up = has_turn and r.token > 0 and debt[level] >= cost
local why
if not has_turn or gives_up then
  local next_turn
  next_turn, why = find_turn()
  if next_turn - now <= r.left then
    turn = next_turn
  elseif gives_up then
    gives_up = false
  else
    return {'late', math.ceil(next_turn - now), 0, 0}
  end
end
if is_stranger and r.warm_up_from then
  local within, wait, budget, is_first = spend_budget()
  if not within then
    redis.call('ZREM', turns, r.id)
    return {'budget', math.ceil(wait), budget, is_first and 1 or 0}
  end
end
if has_turn and not gives_up then return go() end
if gives_up then debt[level] = debt[level] - cost end
take_tokens(turn)
if turn > now then last[level] = math.max(last[level], turn) end
if r.token > 0 or turn > now then save_number() end
if turn <= now then return go() end
redis.call('ZADD', turns, seen(turn), r.id)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', turns, '-inf', now - GRACE, 'LIMIT', 0, 8)) do
  redis.call('ZREM', turns, id)
end
local ends = math.max(last[1], last[2], last[3])
keep_turns(ends - now)
local begins = redis.call('ZADD', paced, seen(ends), r.number)
return {why, math.ceil(turn - now), redis.call('ZCARD', turns), begins}
