-- One lane is through with the rows below a cursor.
-- KEYS claim, state, index   ARGV id, owner ('' = whoever), fence, lane's field, cursor ('len' = all), rows to trim at
redis.call('PERSIST', KEYS[1])
local state = redis.call('HMGET', KEYS[2], 'owner', 'fence', 'len', 'base', ARGV[4])
if ARGV[2] ~= '' and (state[1] ~= ARGV[2] or state[2] ~= ARGV[3]) then return {'lost'} end
if not state[3] then return {'lost'} end
if not state[5] then return {'lane'} end
local len, base = tonumber(state[3]), tonumber(state[4])
local cursor = len
if ARGV[5] ~= 'len' then cursor = math.min(tonumber(ARGV[5]), len) end
if cursor > tonumber(state[5]) then redis.call('HSET', KEYS[2], ARGV[4], string.format('%.0f', cursor)) end
local low, all = len, redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'c:' then low = math.min(low, tonumber(all[i + 1])) end
end
if low >= len then
  local gone = redis.pcall('UNLINK', KEYS[1])
  if type(gone) == 'table' then redis.call('DEL', KEYS[1]) end
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {'finished'}
end
local rows = tonumber(ARGV[6])
if low - base >= rows then
  redis.call('LTRIM', KEYS[1], rows, -1)
  base = base + rows
  redis.call('HSET', KEYS[2], 'base', string.format('%.0f', base))
end
return {'open', base}
