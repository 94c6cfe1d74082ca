-- ARGV: nonce, fence, number, version, doubted, run, the run of Redis if the record was read, event.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
if not is_run(ARGV[7]) then return { 'moved', '' } end
if not is_at(ARGV[4]) then return { 'again', '' } end
local heard = publish_event(8)
-- The status is unchanged: count the instances that would have received it.
if ARGV[8] == '' then heard = redis.call('PUBSUB', 'NUMSUB', events_channel)[2] end
changed(ARGV[5], ARGV[1] .. ' ' .. ARGV[3])
redis.call('HSET', record, 'run', ARGV[6])
return answered(ARGV[1], ARGV[3], heard)
