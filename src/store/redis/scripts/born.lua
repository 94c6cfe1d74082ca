-- KEYS: the index, the heartbeat of who is born, and of who is over (none: nobody was before). ARGV: its name, beat, ms to
-- live. In one step: who lives can be found, and who is found is not taken for dead before it is born. The first command changes
-- nothing: see allow_oom in the prelude.
redis.call('SREM', KEYS[1], '')
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
if KEYS[3] then redis.call('DEL', KEYS[3]) end
