-- `inbox` is the owner's. ARGV: the owner it is meant for, what is said, how many may wait, ms for which they may, our
-- instance. All of them go when the time of the first is up. Said again, since nobody knew whether it was said, it is
-- there already.
if read('owner_nonce') ~= ARGV[1] then return { 'done', '' } end
allow_oom()
for _, words in ipairs(redis.call('LRANGE', said, 0, -1)) do
  if words == ARGV[2] then return { 'done', '' } end
end
if redis.call('LPUSH', said, ARGV[2]) == 1 then
  redis.call('PEXPIRE', said, ARGV[4])
end
redis.call('LTRIM', said, 0, ARGV[3] - 1)
put_into(inbox)
nudge(ARGV[5], '')
return { 'done', '' }
