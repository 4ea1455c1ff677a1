-- ARGV[1]: the command; ARGV[2]: its arguments as JSON.
-- With its memory full, Redis refuses a script whose first write asks for more. Accepted events
-- have to end all the same, because that alone makes room: hence a first write that asks for none.
if ARGV[1] ~= 'replay' then redis.call('DEL', PREFIX .. 'nothing') end
local commands = {
  register = register, extend = extend, sweep = sweep, tell_lost = tell_lost,
  close_gate = close_gate, open_gate = open_gate, resolve = resolve, replay = replay,
  repair = repair, cancel = cancel, reconcile = reconcile, recall = recall,
}
local reply = commands[ARGV[1]](cjson.decode(ARGV[2]))
list_all_added()
return_all_aside()
ring_bells()
store_clock()
return reply
