-- Settle what processes took from the buckets of request limits.
--
-- KEYS[1]   counts of refused requests, by limit
-- KEYS[2…]  buckets: the remaining lifetime of the key is the time until the bucket is full again,
--           and a bucket without a key is full
-- ARGV[1]   JSON: limit → number of requests that were refused
-- ARGV[2…]  two numbers for each bucket, in ms: the time in which it regains what was taken, and
--           the longest lifetime of its key
-- Returns the remaining lifetimes in ms.

for limit, count in pairs(cjson.decode(ARGV[1])) do
  redis.call('HINCRBY', KEYS[1], limit, count)
end

local lifetimes = {}
for index = 2, #KEYS do
  local taken, longest = tonumber(ARGV[2 * index - 2]), tonumber(ARGV[2 * index - 1])
  local left = math.max(redis.call('PTTL', KEYS[index]), 0)
  left = math.min(left + taken, longest)
  if left > 0 then redis.call('SET', KEYS[index], '', 'PX', left) end
  lifetimes[index - 1] = left
end
return lifetimes
