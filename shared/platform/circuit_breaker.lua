-- Circuit breakers of a platform and of its accounts (circuit_breaker.py), for all processes.
-- KEYS[1] = wpp:breaker:{host}, KEYS[2] = wpp:breaker_changes
--
--   KEYS[1]             hash, the platform's breaker: openings = how often it opened without a
--                       minute of calm between; open_until = when an open breaker may be probed,
--                       0 while closed; closed_at; lost_connects = connects that failed in a row
--   :account:<account>  hash, the breaker of an account: openings, open_until, closed_at; is_trial =
--                       its probe succeeded, and a single call tests it next
--   :open               sorted set: accounts whose breaker is not closed, by open_until
--   :calls:<window>     hash of a window of 5 s: s:<account> and f:<account> count the account's
--                       successes and failures, `failures` those of all accounts
--   <breaker>:probe     owner of the running probe or trial of a breaker, PX: longer than any call
--   KEYS[2]             hash of counters: "platform opened", "account closed" and so on
--
-- Every operation returns {platform's state, ms, accounts, changes}. A state is "closed", "open" and
-- for how long, "probe": an idempotent call may test the platform or account now, or "trial": a
-- single call of any kind may. `accounts` lists account, state, ms of each breaker that is not
-- closed. `changes` lists what this operation changed: account or "", "opened" or "closed", ms,
-- reason. Times are ms of this server's clock.

local key, operation, jitter = KEYS[1], ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local WINDOW, MIN_CALLS, MAX_LOST_CONNECTS = 5000, 20, 5
local MIN_ACCOUNTS, MAX_VOTERS, MAX_LISTED = 3, 5000, 1000
local MIN_OPEN, MAX_OPEN, CALM, LIFE = 5000, 60000, 60000, 3600000
local window = math.floor(now / WINDOW)
local windows = {
  key .. ':calls:' .. string.format('%.0f', window),
  key .. ':calls:' .. string.format('%.0f', window - 1),
}
local changes = {}

local function breaker_key(account)
  return account == '' and key or key .. ':account:' .. account
end

local function load(account)
  local h = redis.call(
    'HMGET', breaker_key(account), 'openings', 'open_until', 'closed_at', 'is_trial'
  )
  return {
    account = account,
    openings = tonumber(h[1] or 0),
    open_until = tonumber(h[2] or 0),
    closed_at = tonumber(h[3] or 0),
    is_trial = h[4] == '1',
  }
end

local function save(breaker)
  local name = breaker_key(breaker.account)
  local open_until = string.format('%.0f', breaker.open_until)
  redis.call('HSET', name, 'openings', breaker.openings, 'open_until', open_until,
    'closed_at', string.format('%.0f', breaker.closed_at), 'is_trial', breaker.is_trial and 1 or 0)
  redis.call('PEXPIRE', name, LIFE)
  if breaker.account == '' then return end
  if breaker.open_until == 0 then
    redis.call('ZREM', key .. ':open', breaker.account)
  else
    redis.call('ZADD', key .. ':open', open_until, breaker.account)
    redis.call('PEXPIRE', key .. ':open', LIFE)
  end
end

local function note(breaker, change, ms, reason)
  local scope = breaker.account == '' and 'platform' or 'account'
  redis.call('HINCRBY', KEYS[2], scope .. ' ' .. change, 1)
  for _, value in ipairs({ breaker.account, change, ms, reason }) do
    changes[#changes + 1] = value
  end
end

local function open(breaker, reason)
  local was_closed = breaker.open_until == 0
  if was_closed and now - breaker.closed_at > CALM then breaker.openings = 0 end
  breaker.openings = breaker.openings + 1
  local duration = math.min(MAX_OPEN, MIN_OPEN * 2 ^ math.min(breaker.openings - 1, 10)) * jitter
  breaker.open_until = math.floor(now + duration)
  breaker.is_trial = false
  save(breaker)
  note(breaker, 'opened', math.floor(duration), reason)
end

local function close(breaker)
  breaker.open_until = 0
  breaker.closed_at = now
  breaker.is_trial = false
  save(breaker)
  for _, calls in ipairs(windows) do
    if breaker.account == '' then
      redis.call('DEL', calls)
    else
      redis.call('HDEL', calls, 's:' .. breaker.account, 'f:' .. breaker.account)
    end
  end
  if breaker.account == '' then redis.call('HDEL', key, 'lost_connects') end
  note(breaker, 'closed', 0, 'a call succeeded')
end

-- A clock that is set back does not lengthen the open time.
local function state(breaker)
  if breaker.open_until == 0 then return { 'closed', 0 } end
  if breaker.open_until > now then
    return { 'open', math.min(breaker.open_until - now, MAX_OPEN * 1.2) }
  end
  local probe_left = redis.call('PTTL', breaker_key(breaker.account) .. ':probe')
  if probe_left > 0 then return { 'open', math.min(probe_left, 1000) } end
  return { breaker.is_trial and 'trial' or 'probe', 0 }
end

local function reply()
  local platform = state(load(''))
  local accounts = {}
  for _, account in ipairs(redis.call('ZREVRANGE', key .. ':open', 0, MAX_LISTED - 1)) do
    local found = state(load(account))
    if found[1] == 'closed' then -- its hash has expired
      redis.call('ZREM', key .. ':open', account)
    else
      accounts[#accounts + 1] = account
      accounts[#accounts + 1] = found[1]
      accounts[#accounts + 1] = found[2]
    end
  end
  return { platform[1], platform[2], accounts, changes }
end

-- Open the breaker of an account when half of 20 or more calls within about 10 s failed.
local function judge_account(account)
  local successes, failures = 0, 0
  for _, calls in ipairs(windows) do
    local h = redis.call('HMGET', calls, 's:' .. account, 'f:' .. account)
    successes = successes + tonumber(h[1] or 0)
    failures = failures + tonumber(h[2] or 0)
  end
  local breaker = load(account)
  if breaker.open_until == 0 and successes + failures >= MIN_CALLS and failures >= successes then
    open(breaker, string.format('%d of %d calls failed', failures, successes + failures))
  end
end

-- Open the platform's breaker when at least three accounts, and four fifths of those called lately,
-- fail in 20 or more calls together. Each account has one vote, however often it is called.
local function judge_platform()
  local total = 0
  local size = 0
  for _, calls in ipairs(windows) do
    total = total + tonumber(redis.call('HGET', calls, 'failures') or 0)
    size = size + redis.call('HLEN', calls)
  end
  if total < MIN_CALLS or size > MAX_VOTERS then return end
  local votes = {}
  for _, calls in ipairs(windows) do
    local h = redis.call('HGETALL', calls)
    for i = 1, #h, 2 do
      local kind, account = string.match(h[i], '^([sf]):(.*)$')
      if kind then
        local count = tonumber(h[i + 1])
        votes[account] = (votes[account] or 0) + (kind == 'f' and count or -count)
      end
    end
  end
  local called, failing = 0, 0
  for _, balance in pairs(votes) do
    called = called + 1
    if balance >= 0 then failing = failing + 1 end
  end
  if failing >= MIN_ACCOUNTS and failing * 5 >= called * 4 then
    open(load(''), string.format('%d of %d accounts fail', failing, called))
  end
end

-- report jitter is_lost_connect (account successes failures)...: adds calls since the last report.
-- Only calls that reached the platform are counted for their account; the account "" stands for
-- calls without one. is_lost_connect = 1: a call could not connect.
if operation == 'report' then
  local reached = false
  local failing = {}
  for i = 4, #ARGV, 3 do
    local account, successes, failures = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    reached = true
    if account ~= '' then
      if successes > 0 then redis.call('HINCRBY', windows[1], 's:' .. account, successes) end
      if failures > 0 then
        redis.call('HINCRBY', windows[1], 'f:' .. account, failures)
        redis.call('HINCRBY', windows[1], 'failures', failures)
        failing[#failing + 1] = account
      end
      redis.call('PEXPIRE', windows[1], 3 * WINDOW)
    end
  end
  if reached then redis.call('HDEL', key, 'lost_connects') end
  for _, account in ipairs(failing) do judge_account(account) end
  local platform = load('')
  if ARGV[3] == '1' then
    local lost_connects = redis.call('HINCRBY', key, 'lost_connects', 1)
    redis.call('PEXPIRE', key, LIFE)
    if platform.open_until == 0 and lost_connects >= MAX_LOST_CONNECTS then
      open(platform, string.format('%d connects in a row failed', lost_connects))
    end
  elseif failing[1] and platform.open_until == 0 then
    judge_platform()
  end
  return reply()
end

-- acquire jitter account owner lease wanted: gives the probe or trial of a breaker to the caller,
-- when the state in the reply is the wanted one. Account "": the platform's breaker.
if operation == 'acquire' then
  local account = ARGV[3]
  local found = reply()
  if state(load(account))[1] == ARGV[6] then
    redis.call('SET', breaker_key(account) .. ':probe', ARGV[4], 'PX', ARGV[5])
  end
  return found
end

-- finish jitter account owner result caller: "1" ends a probe or trial with success, "0" opens the
-- breaker for longer, "-" gives it back without a result. A failed probe of the platform opens the
-- breaker of the account `caller` as well, so that another account makes the next probe.
if operation == 'finish' then
  local account, owner, result, caller = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  local probe = breaker_key(account) .. ':probe'
  if redis.call('GET', probe) == owner then
    redis.call('DEL', probe)
    local breaker = load(account)
    if result == '0' then
      open(breaker, breaker.is_trial and 'its trial call failed' or 'its probe failed')
      if account == '' and caller ~= '' then
        local other = load(caller)
        if other.open_until == 0 then open(other, 'its probe of the platform failed') end
      end
    elseif result == '1' and account ~= '' and not breaker.is_trial then
      breaker.is_trial = true
      save(breaker)
    elseif result == '1' then
      close(breaker)
    end
  end
  return reply()
end

return redis.error_reply('unknown operation ' .. operation)
