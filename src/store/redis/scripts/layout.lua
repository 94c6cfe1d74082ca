-- KEYS: the key check. ARGV: our layout, our vocabulary. Neither number ever falls: an older instance may run this last.
-- Changes nothing: see allow_oom in the prelude.
local NO_FIELD = ''
redis.call('HDEL', KEYS[1], NO_FIELD)
redis.call('HSETNX', KEYS[1], 'layout', ARGV[1])
local vocabulary = tonumber(redis.call('HGET', KEYS[1], 'vocabulary') or '0')
if vocabulary < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'vocabulary', ARGV[2]) end
