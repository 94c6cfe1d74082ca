-- ARGV: our vocabulary. It never falls: an older instance may run this last. The first command changes nothing: see
-- allow_oom in the prelude.
local NO_FIELD = ''
redis.call('HDEL', proof, NO_FIELD)
local vocabulary = tonumber(redis.call('HGET', proof, 'vocabulary') or '0')
if vocabulary < tonumber(ARGV[1]) then redis.call('HSET', proof, 'vocabulary', ARGV[1]) end
