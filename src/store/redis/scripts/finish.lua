-- `owned` is the owner's. ARGV: nonce, fence, number, version, doubted, run, the run of Redis if the record was read,
-- whether the desired state is fulfilled, whether the link is given up, our instance, the last event, the event that
-- follows for a newer desired state.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
if not is_run(ARGV[7]) then return { 'moved', '' } end
if not is_at(ARGV[4]) then return { 'again', '' } end
local goes_on = ARGV[8] ~= '1' and read('desired') ~= ''
if goes_on then redis.call('SADD', wanted, tenant) end
local heard = publish_event(11)
if ARGV[9] == '1' then keep_newest_event() end
heard = heard + publish_event(18)
clear_owner()
if ARGV[8] == '1' then redis.call('HDEL', record, 'desired') end
changed(ARGV[5], ARGV[1] .. ' ' .. ARGV[3])
redis.call('HSET', record, 'run', ARGV[6])
redis.call('SREM', owned, tenant)
if goes_on then notify(ARGV[10], '') end
return answered(ARGV[1], ARGV[3], heard)
