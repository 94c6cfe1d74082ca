-- `alive` and `owned` belong to the incarnation that would acquire. `owned_before` and `inbox` belong to the tenant's owner, if
-- it has one. ARGV: the call's token, number, the desired state or '' if it is fulfilled at once, version, doubted, run, how
-- many pairing codes in how many ms ('' if none is requested), how many dials in how many ms, whether the owner lives, our
-- instance, the nonce of the lease to acquire or '', its incarnation, the highest fence seen, whether readers need a refresh,
-- the run of Redis if a record was read, event.
-- Answers the number, how many instances received the event, and the fence of the acquired lease. A refused call is answered
-- what the next decision needs.
-- A call whose answer was lost is repeated. It gets the first answer again: decided once more, it would replace a newer
-- request.
local ANSWERS_MAX, ANSWERS_KEPT_MS = 16, 10000
for _, answer in ipairs(redis.call('LRANGE', requests, 0, -1)) do
  local token, first = string.match(answer, '^(%x+) (.+)$')
  if token == ARGV[1] then return { 'done', first } end
end
if not is_at(ARGV[4]) then
  -- A disconnect that would change nothing ends here. A server that takes no writes may have been left by all others, and
  -- what it has may be out of date: it refuses this.
  allow_oom()
  return { 'again', look('', '0') }
end
local acquires = ARGV[13] ~= ''
if acquires and redis.call('EXISTS', alive) == 0 then return { 'unregistered', '' } end
if not is_run(ARGV[17]) then return { 'moved', '' } end
local function remember(answer)
  redis.call('LPUSH', requests, ARGV[1] .. ' ' .. answer)
  redis.call('LTRIM', requests, 0, ANSWERS_MAX - 1)
  redis.call('PEXPIRE', requests, ANSWERS_KEPT_MS)
  return { 'done', answer }
end
-- A tenant that never linked anything gets no record, which would be kept for months.
if ARGV[3] == '' and redis.call('EXISTS', record, tables) == 0 then return remember(ARGV[2] .. ' 0') end
-- By the clock of Redis, which all instances share. The lists hold the times of use, the newest first.
local now = now_ms()
local limits = {
  { 'pair-codes', used_codes, ARGV[7], ARGV[8] },
  { 'dials', used_dials, ARGV[9], ARGV[10] },
}
for _, limit in ipairs(limits) do
  local name, used, max, per = unpack(limit)
  if max ~= '' then
    local first = tonumber(redis.call('LRANGE', used, max - 1, max - 1)[1])
    -- Ignore a time in the future: after the clock was set back the tenant would be refused for too long.
    if first and first <= now and now - first < tonumber(per) then
      return { 'limited', name .. ' ' .. string.format('%.0f', first + per - now) }
    end
  end
end
-- Only for a request that uses nothing, whose tenant has a record: of others there may be any number.
if ARGV[7] == '' and ARGV[9] == '' then allow_oom() end
-- The index comes first: a script that Redis stops here must not leave a saved request that no instance looks for.
if acquires then
  redis.call('SADD', owned, tenant)
elseif ARGV[3] ~= '' then
  if ARGV[11] == '1' then put_into_inbox(inbox) else redis.call('SADD', wanted, tenant) end
end
for _, limit in ipairs(limits) do
  local _, used, max, per = unpack(limit)
  if max ~= '' then
    redis.call('LPUSH', used, string.format('%.0f', now))
    redis.call('LTRIM', used, 0, max - 1)
    redis.call('PEXPIRE', used, per)
  end
end
local heard = publish_event(18)
redis.call('HSET', record, 'generation', ARGV[2], 'run', ARGV[6])
local fence = acquires and ' ' .. own(ARGV[13], ARGV[14], ARGV[15]) or ''
if ARGV[3] == '' then
  -- If it has an owner, that one has expired. Without this the expired incarnation would be listed for ever.
  redis.call('HDEL', record, 'desired')
  clear_owner()
else
  redis.call('HSET', record, 'desired', ARGV[3])
end
changed(ARGV[5], acquires and ARGV[13] or ARGV[1])
if acquires or ARGV[3] == '' then
  redis.call('SREM', wanted, tenant)
  if owned_before and not (acquires and owned_before == owned) then redis.call('SREM', owned_before, tenant) end
end
if acquires then
  if ARGV[16] == '1' then refresh() end
elseif ARGV[3] ~= '' then
  notify(ARGV[12], '')
end
return remember(ARGV[2] .. ' ' .. heard .. fence)
