-- Moves the last rows of a claim to the head of its key. Nothing else may write the claim: fence and owner are checked.
-- KEYS key, claim, state, index   ARGV id, owner, fence, low, rows
redis.call('PERSIST', KEYS[2])
local state = redis.call('HMGET', KEYS[3], 'owner', 'fence', 'len')
if state[1] ~= ARGV[2] or state[2] ~= ARGV[3] then return {'lost'} end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'list' then return {'type', kind} end
local len, low = tonumber(state[3]), tonumber(ARGV[4])
local moved = 0
while moved < tonumber(ARGV[5]) and len - moved > low do
  if not redis.call('RPOPLPUSH', KEYS[2], KEYS[1]) then break end
  moved = moved + 1
end
len = len - moved
if len <= low or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[1])
  return {'finished', moved}
end
redis.call('HSET', KEYS[3], 'len', string.format('%.0f', len))
return {'open', moved}
