-- `alive` belongs to the new incarnation, `past` to the one before it in the same process. ARGV: the new name, its first
-- beat, ms to live. One step, so that no instance takes the new name for dead before it has a heartbeat. The first command
-- changes nothing: see allow_oom in the prelude.
redis.call('SREM', incarnations, '')
redis.call('SADD', incarnations, ARGV[1])
redis.call('SET', alive, ARGV[2], 'NX', 'PX', ARGV[3])
if past then redis.call('DEL', past) end
