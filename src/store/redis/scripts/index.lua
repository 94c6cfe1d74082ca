-- The index is a set. ARGV: a tenant, ms for which the index is kept or ''. For a Redis whose memory is full: the first
-- command changes nothing, see allow_oom in the prelude.
redis.call('SREM', index, '')
redis.call('SADD', index, ARGV[1])
if ARGV[2] ~= '' then redis.call('PEXPIRE', index, ARGV[2]) end
