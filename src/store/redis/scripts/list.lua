-- KEYS: the index of notices. ARGV: a tenant, when to look at it. For a Redis whose memory is full: the first command changes
-- nothing, see allow_oom in the prelude.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
