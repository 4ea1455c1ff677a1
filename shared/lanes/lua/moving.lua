-- Tenants that move to another Redis (workers/repair/shard_move.py): none of their lanes is claimed,
-- and where they are `closed`, nothing is accepted for them. A tenant that has moved stays closed here.

local moving
local function find_move(tenant)
  if moving == nil then moving = redis.call('EXISTS', PREFIX .. 'moving') == 1 end
  return moving and tenant and redis.call('HGET', PREFIX .. 'moving', tenant)
end

local function is_closed(tenant) return find_move(tenant) == 'closed' end
