-- The id of this store; made by whoever asks first.
-- KEYS fleet   ARGV id
redis.call('PERSIST', KEYS[1])
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
