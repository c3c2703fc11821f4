-- Lanes are through with the rows below their cursors.
-- KEYS claim, state, index   ARGV id, owner ('' = whoever), fence, rows to trim at, lane's field, cursor ('len' = all), ...
redis.call('PERSIST', KEYS[1])
local state = redis.call('HMGET', KEYS[2], 'owner', 'fence', 'len', 'base')
if ARGV[2] ~= '' and (state[1] ~= ARGV[2] or state[2] ~= ARGV[3]) then return {'lost'} end
if not state[3] then return {'lost'} end
local len, base = tonumber(state[3]), tonumber(state[4])
for i = 5, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[2], ARGV[i])
  if not before then return {'lane', ARGV[i]} end
  local cursor = len
  if ARGV[i + 1] ~= 'len' then cursor = math.min(tonumber(ARGV[i + 1]), len) end
  if cursor > tonumber(before) then redis.call('HSET', KEYS[2], ARGV[i], string.format('%.0f', cursor)) end
end
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
local rows = tonumber(ARGV[4])
if low - base >= rows then
  redis.call('LTRIM', KEYS[1], rows, -1)
  base = base + rows
  redis.call('HSET', KEYS[2], 'base', string.format('%.0f', base))
end
return {'open', base}
