-- KEYS: the index, the heartbeat of the incarnation that begins, and of the one before it, if there was one. ARGV: its
-- name, beat, ms to live. In one step: who lives can be found, and who is found is not taken for dead before it is born. The first command changes
-- nothing: see allow_oom in the prelude.
redis.call('SREM', incarnations, '')
redis.call('SADD', incarnations, ARGV[1])
redis.call('SET', alive, ARGV[2], 'NX', 'PX', ARGV[3])
if past then redis.call('DEL', past) end
