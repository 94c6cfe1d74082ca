-- `alive` belongs to the new incarnation, `past_alive` to the one before it in the same process. ARGV: the new name, its first
-- beat, ms to live, the past name or '', the run of Redis or '' if it is not known. Answers the number of this registration,
-- whether the past name was still listed, and whether no other instance was there.
-- One step, so that no instance takes the new name for expired before it has a heartbeat. The first command changes nothing: see
-- allow_oom in the prelude.
redis.call('SREM', incarnations, '')
local none_listed = redis.call('EXISTS', incarnations) == 0
local was_listed = redis.call('SISMEMBER', incarnations, ARGV[4])
redis.call('SADD', incarnations, ARGV[1])
redis.call('SET', alive, ARGV[2], 'NX', 'PX', ARGV[3])
if past_alive then redis.call('DEL', past_alive) end
local number = redis.call('INCR', registrations)
local left_in = redis.call('GET', vacant)
local was_vacant = none_listed and (number == 1 or left_in and left_in ~= '' and left_in == ARGV[5])
if was_vacant then
  redis.call('DEL', vacant)
elseif left_in then
  -- Left in another run: Redis may have lost the registration of an instance that acquires. Others wait while this is here, so
  -- it stays for longer than their lease.
  redis.call('PEXPIRE', vacant, 30000)
end
return { number, was_listed, was_vacant and 1 or 0 }
