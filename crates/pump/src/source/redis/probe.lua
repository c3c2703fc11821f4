-- Tries every command that claims need, on names of their own, and leaves nothing behind.
-- KEYS claim, state, index   ARGV id
if redis.replicate_commands then redis.replicate_commands() end
redis.call('PERSIST', KEYS[1])
local renamed = redis.pcall('RENAMENX', KEYS[1], KEYS[2])
if type(renamed) == 'table' and not string.find(renamed.err, 'no such key', 1, true) then return renamed end
redis.call('TIME')
redis.call('TYPE', KEYS[1])
redis.call('EXISTS', KEYS[1])
redis.call('PTTL', KEYS[1])
redis.call('LLEN', KEYS[1])
redis.call('LTRIM', KEYS[1], 1, -1)
redis.call('HMSET', KEYS[2], 'probe', 1)
redis.call('HSET', KEYS[2], 'probe', 2)
redis.call('HMGET', KEYS[2], 'probe')
redis.call('HGETALL', KEYS[2])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
redis.call('ZSCORE', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
return redis.status_reply('OK')
