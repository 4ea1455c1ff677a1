-- ARGV[1]: TTL (s) of settled events. ARGV[2]: the request for claims, or ''.
-- ARGV[3…]: results to conclude.
-- Returns a word for each result, then {status, claims}.
redis.call('DEL', PREFIX .. 'nothing') -- see main_operate.lua
local words = {}
for i = 3, #ARGV do words[i - 2] = conclude(cjson.decode(ARGV[i]), ARGV[1]) end
local claimed = {'none', {}}
if ARGV[2] ~= '' then claimed = claim_heads(cjson.decode(ARGV[2])) end
ring_bells()
return {words, claimed}
