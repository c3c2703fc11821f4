-- Ends leases that are ours.
-- KEYS index, claim, state, ...   ARGV owner, id, fence, ...
redis.call('PERSIST', KEYS[1])
local at = 2
for i = 2, #KEYS, 2 do
  local state = redis.call('HMGET', KEYS[i + 1], 'owner', 'fence')
  if state[1] == ARGV[1] and state[2] == ARGV[at + 1] then redis.call('ZADD', KEYS[1], 0, ARGV[at]) end
  at = at + 2
end
return redis.status_reply('OK')
