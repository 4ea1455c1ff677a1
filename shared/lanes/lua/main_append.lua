-- ARGV[1]: a JSON list of events. Returns a reply for each.
local replies = {}
for i, event in ipairs(cjson.decode(ARGV[1])) do
  replies[i] = is_closed(event.tenant) and {'moved'} or append_event(event)
end
ring_bells()
store_clock()
return replies
