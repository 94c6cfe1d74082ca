-- ARGV: the call's own token, run, event. A tenant with a record is not lost. Answers how many instances received the event.
if redis.call('EXISTS', record) == 1 then return { 'done', '' } end
local heard = publish_event(3)
redis.call('HSET', record, 'run', ARGV[2])
changed('0', ARGV[1])
return { 'done', tostring(heard) }
