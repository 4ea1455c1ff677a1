-- Have outcomes that earlier recorders left taken in their tenants' turns.
--
-- ARGV[1]: the newest version of outcomes that can be recorded now. ARGV[2]: outcomes at most.
local NEWER = PREFIX .. 'outbox:newer'
local ids = redis.call('ZRANGEBYSCORE', NEWER, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZREM', NEWER, id)
  local entry = redis.call('XRANGE', PREFIX .. 'outbox', id, id)[1]
  if entry then
    local row = cjson.decode(entry[2][2])
    list_outcomes(row.organization_id or row.account or '', {id})
  end
end
return #ids
