-- Takes a list away from its key. Constant time for any length.
-- KEYS key (or a list that has lost its state), claim, state, index   ARGV id, owner, lease in ms, field, value, ...
if redis.replicate_commands then redis.replicate_commands() end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'nothing'} end
if kind ~= 'list' then return {'type', kind} end
local ttl = redis.call('PTTL', KEYS[1])
-- First write: Redis allows it when memory is full, and with it every later one of this script.
if redis.call('RENAMENX', KEYS[1], KEYS[2]) ~= 1 then return {'nothing'} end
-- The gateway's time to live travels with the list.
redis.call('PERSIST', KEYS[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local len = redis.call('LLEN', KEYS[2])
redis.call('HMSET', KEYS[3], 'owner', ARGV[2], 'fence', 1, 'base', 0, 'len', len,
  'at', string.format('%.0f', now), unpack(ARGV, 4))
redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[3]), ARGV[1])
return {'claimed', len, string.format('%.0f', now), ttl}
