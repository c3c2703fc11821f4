-- Makes a claim ours: its lease is over, or its process is gone ('1').
-- KEYS claim, state, index   ARGV id, owner, lease in ms, owner seen, fence seen, gone, our lanes (none: any claim) ...
if redis.replicate_commands then redis.replicate_commands() end
redis.call('PERSIST', KEYS[1])
local state = redis.call('HMGET', KEYS[2], 'owner', 'fence', 'len')
if not state[1] then
  redis.call('ZREM', KEYS[3], ARGV[1])
  if redis.call('EXISTS', KEYS[1]) == 1 then return {'stateless'} end
  return {'no'}
end
if state[1] ~= ARGV[4] or state[2] ~= ARGV[5] then return {'no'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[3], ARGV[1])
if ARGV[6] ~= '1' and ends and tonumber(ends) >= now then return {'no'} end
local len = tonumber(state[3])
if not len then
  -- Its maker died between the rename and the count.
  len = redis.call('LLEN', KEYS[1])
  if len == 0 then
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[1])
    return {'no'}
  end
  redis.call('HSET', KEYS[2], 'len', len)
end
local wanted = #ARGV == 6
for i = 7, #ARGV do
  local cursor = redis.call('HGET', KEYS[2], 'c:' .. ARGV[i])
  if cursor and tonumber(cursor) < len then wanted = true end
end
if not wanted then return {'no'} end
redis.call('HMSET', KEYS[2], 'owner', ARGV[2], 'fence', state[2] + 1)
redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[3]), ARGV[1])
return {'taken', redis.call('HGETALL', KEYS[2])}
