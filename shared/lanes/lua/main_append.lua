-- ARGV[1]: JSON: the limits, and a list of events, each with the number of its outcomes. The other
-- arguments are of each event its body, then its outcomes. Returns for each event the words of the
-- reply in a string.
local request = cjson.decode(ARGV[1])
local replies, read = {}, 1
gather(request.events)
for i, event in ipairs(request.events) do
  local last = read + 1 + event.outcomes
  event.body, event.outcomes = ARGV[read + 1], {unpack(ARGV, read + 2, last)}
  read = last
  local reply = is_closed(event.tenant) and {'moved'} or append_event(event, request)
  replies[i] = table.concat(reply, ' ')
end
write_gathered()
list_all_added()
ring_bells()
store_clock()
return replies
