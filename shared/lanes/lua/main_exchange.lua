-- ARGV[1]: TTL (s) of settled events. ARGV[2], ARGV[3]: TTL of events with an unknown effect, and how
-- many of a tenant are kept. ARGV[4]: the request for claims, or ''. ARGV[5…]: results to conclude.
-- Returns for each result a word and how many of its run ended, then {status, claims}.
if ARGV[5] then redis.call('DEL', PREFIX .. 'nothing') end -- see main_operate.lua
local words = {}
local keep = {ttl = ARGV[1], unknown_ttl = tonumber(ARGV[2]), unknown_limit = tonumber(ARGV[3])}
for i = 5, #ARGV do words[i - 4] = {conclude(cjson.decode(ARGV[i]), keep)} end
return_all_aside()
local claimed = {'none', {}}
if ARGV[4] ~= '' then claimed = claim_heads(cjson.decode(ARGV[4])) end
list_all_added()
ring_bells()
store_clock()
return {words, claimed}
