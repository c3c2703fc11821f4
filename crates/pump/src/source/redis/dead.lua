-- Stores dead letters of one lane, and lets the oldest go when there are too many.
-- KEYS dead, dead-at, dead-bytes   ARGV lane, most entries, most bytes, field, time, letter, ...
redis.call('PERSIST', KEYS[1])
for i = 4, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    redis.call('HINCRBY', KEYS[3], ARGV[1], #ARGV[i + 2])
  end
end
local count = redis.call('ZCARD', KEYS[2])
local bytes = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
local gone = 0
while count > 0 and (count > tonumber(ARGV[2]) or bytes > tonumber(ARGV[3])) do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  local size = #(redis.call('HGET', KEYS[1], oldest) or '')
  redis.call('HDEL', KEYS[1], oldest)
  redis.call('ZREM', KEYS[2], oldest)
  redis.call('HINCRBY', KEYS[3], ARGV[1], -size)
  count, bytes, gone = count - 1, bytes - size, gone + 1
end
if count == 0 then redis.call('HDEL', KEYS[3], ARGV[1]) end
return gone
