-- `inbox` is the owner's. ARGV: the nonce of the lease that the message is for, the message, how many may wait, for how many ms,
-- our instance. All of them expire with the first. A call that is repeated finds its message, and adds none.
if read('owner_nonce') ~= ARGV[1] then return { 'done', '' } end
allow_oom()
for _, waiting in ipairs(redis.call('LRANGE', messages, 0, -1)) do
  if waiting == ARGV[2] then return { 'done', '' } end
end
if redis.call('LPUSH', messages, ARGV[2]) == 1 then
  redis.call('PEXPIRE', messages, ARGV[4])
end
redis.call('LTRIM', messages, 0, ARGV[3] - 1)
put_into_inbox(inbox)
notify(ARGV[5], '')
return { 'done', '' }
