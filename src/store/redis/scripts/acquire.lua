-- `owned` belongs to the incarnation that acquires. `owned_before` belongs to the previous owner, if there is one, and
-- `inbox_before` as well if that owner may still live. ARGV: nonce, incarnation, the highest fence seen, version, doubted,
-- run, whether readers need a refresh, the run of Redis, event.
-- Answers the fence, and how many instances received the event; a repeated call is answered the fence alone.
if read('owner_nonce') == ARGV[1] then return { 'done', read('owner_fence') } end
-- Without this check a process that froze before the call would own the tenant as an incarnation that has expired.
if redis.call('EXISTS', alive) == 0 then return { 'unregistered', '' } end
if not is_run(ARGV[8]) then return { 'moved', '' } end
if not is_at(ARGV[4]) then return { 'again', '' } end
allow_oom()
redis.call('SADD', owned, tenant)
if inbox_before then put_into_inbox(inbox_before) end
local heard = publish_event(9)
local fence = own(ARGV[1], ARGV[2], ARGV[3])
redis.call('HSET', record, 'run', ARGV[6])
changed(ARGV[5], ARGV[1])
redis.call('SREM', wanted, tenant)
if owned_before and owned_before ~= owned then redis.call('SREM', owned_before, tenant) end
if ARGV[7] == '1' then refresh() end
return { 'done', fence .. ' ' .. heard }
