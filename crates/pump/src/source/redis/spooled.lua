-- Notes that rows of a claim wait in a spool ('1'), or no longer do.
-- KEYS spooled   ARGV entry, waiting
redis.call('PERSIST', KEYS[1])
return redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[1])
