-- KEYS behind `owned`, which is the taker's: `owned_before` of the incarnation that owned it, if one did, and
-- `inbox_before` if that one may still live. ARGV: nonce, incarnation, the highest fence seen, version, doubted, run,
-- whether readers are to look, event.
-- Answers the fence, and how many instances heard the event: not to a call that comes again.
if read('owner_nonce') == ARGV[1] then return { 'done', read('owner_fence') } end
-- Without this, a process that froze before this call would own the tenant under a name that is dead.
if redis.call('EXISTS', alive) == 0 then return { 'unborn', '' } end
if not is_at(ARGV[4]) then return { 'again', '' } end
allow_oom()
redis.call('SADD', owned, tenant)
if inbox_before then put_into(inbox_before) end
local heard = tell(8)
local fence = own(ARGV[1], ARGV[2], ARGV[3])
redis.call('HSET', record, 'run', ARGV[6])
changed(ARGV[5], ARGV[1])
redis.call('SREM', wanted, tenant)
if owned_before and owned_before ~= owned then redis.call('SREM', owned_before, tenant) end
if ARGV[7] == '1' then notice() end
return { 'done', fence .. ' ' .. heard }
