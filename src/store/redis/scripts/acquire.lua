-- KEYS behind `owned`, which is the taker's: `owned_before` of the incarnation that owned it, if one did, and
-- `inbox_before` if that one may still live. ARGV: nonce, incarnation, the highest fence seen, version, doubted, run,
-- whether readers are to look, event.
-- The fence is made here, in the step that takes: above every one that the record or the taker ever saw. Answers it, and
-- how many instances heard the event: not to a call that comes again.
if read('owner_nonce') == ARGV[1] then return { 'done', read('owner_fence') } end
-- Without this, a process that froze before this call would own the tenant under a name that is dead.
if redis.call('EXISTS', alive) == 0 then return { 'unborn', '' } end
if not is_at(ARGV[4]) then return { 'again', '' } end
allow_oom()
redis.call('SADD', owned, tenant)
if inbox_before then put_into(inbox_before) end
local fence = math.max(tonumber(redis.call('HGET', record, 'fences') or '0'), tonumber(ARGV[3])) + 1
fence = string.format('%.0f', fence)
local heard = tell(8)
redis.call('HSET', record, 'owner_nonce', ARGV[1], 'owner_incarnation', ARGV[2], 'owner_fence', fence, 'fences', fence,
  'run', ARGV[6])
redis.call('UNLINK', said)
changed(ARGV[5], ARGV[1])
redis.call('SREM', wanted, tenant)
if owned_before and owned_before ~= owned then redis.call('SREM', owned_before, tenant) end
if ARGV[7] == '1' then notice() end
return { 'done', fence .. ' ' .. heard }
