-- `alive` belongs to the new incarnation, `past_alive` to the one before it in the same process. ARGV: the new name, its first
-- beat, ms to live, the past name or ''. Answers the number of this registration, and whether the past name was still listed.
-- One step, so that no instance takes the new name for dead before it has a heartbeat. The first command changes nothing: see
-- allow_oom in the prelude.
redis.call('SREM', incarnations, '')
local was_listed = redis.call('SISMEMBER', incarnations, ARGV[4])
redis.call('SADD', incarnations, ARGV[1])
redis.call('SET', alive, ARGV[2], 'NX', 'PX', ARGV[3])
if past_alive then redis.call('DEL', past_alive) end
return { redis.call('INCR', registrations), was_listed }
