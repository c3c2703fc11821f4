-- Extends leases, and says which lanes somebody has configured.
-- KEYS pumps, index, claim, state, ...   ARGV owner, lease in ms, lanes, lane, ..., id, fence, ...
if redis.replicate_commands then redis.replicate_commands() end
redis.call('PERSIST', KEYS[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lanes = tonumber(ARGV[3])
local lost, at = {}, 4 + lanes
for i = 3, #KEYS, 2 do
  local state = redis.call('HMGET', KEYS[i + 1], 'owner', 'fence')
  if state[1] == ARGV[1] and state[2] == ARGV[at + 1] then
    redis.call('PERSIST', KEYS[i])
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[2]), ARGV[at])
  else
    lost[#lost + 1] = ARGV[at]
  end
  at = at + 2
end
-- Without claims nobody can wait for a lane, and nothing is left behind.
if lanes > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  for i = 4, 3 + lanes do redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - 604800000))
end
return lost
