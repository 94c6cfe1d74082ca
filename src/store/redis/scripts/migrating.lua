-- ARGV: the layout that the data had so far, the layout that it has now if a migration goes on or '', the number by which
-- versions see whether they may start, and the holder of the lock. Changes nothing if another instance has gone on. Answers
-- whether it was changed.
local before = redis.call('HGET', proof, 'migrating') or redis.call('HGET', proof, 'layout')
if before ~= ARGV[1] or redis.call('GET', lock) ~= ARGV[4] then return 0 end
if ARGV[2] == '' then
  redis.call('HDEL', proof, 'migrating')
else
  redis.call('HSET', proof, 'migrating', ARGV[2])
end
redis.call('HSET', proof, 'layout', ARGV[3])
return 1
