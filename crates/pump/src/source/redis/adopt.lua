-- Gives the rows of one lane to another; its ledger keeps the name that it knows. Whoever owns the claim lets go of it.
-- KEYS claim, state, index   ARGV id, old lane, new lane
redis.call('PERSIST', KEYS[1])
local old, new = 'c:' .. ARGV[2], 'c:' .. ARGV[3]
local state = redis.call('HMGET', KEYS[2], 'fence', 'len', old, new, 'a:' .. ARGV[2])
if not state[2] or not state[3] or state[4] then return 0 end
redis.call('HDEL', KEYS[2], old, 'a:' .. ARGV[2])
redis.call('HMSET', KEYS[2], new, state[3], 'a:' .. ARGV[3], state[5] or ARGV[2], 'owner', '', 'fence', state[1] + 1)
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return state[2] - state[3]
