-- Removes dead letters of one lane.
-- KEYS dead, dead-at, dead-bytes   ARGV lane, field, ...
redis.call('PERSIST', KEYS[1])
local removed = 0
for i = 2, #ARGV do
  local letter = redis.call('HGET', KEYS[1], ARGV[i])
  if letter then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HINCRBY', KEYS[3], ARGV[1], -#letter)
    removed = removed + 1
  end
  redis.call('ZREM', KEYS[2], ARGV[i])
end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('HDEL', KEYS[3], ARGV[1]) end
return removed
