-- KEYS: an index, a set. ARGV: a tenant, ms for which the index is kept or ''. For a Redis whose memory is full: the first
-- command changes nothing, see allow_oom in the prelude.
redis.call('SREM', KEYS[1], '')
redis.call('SADD', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
