-- KEYS: `alive` and `owned` are the taker's, `owned_before` and `inbox` those of the incarnation that owns the tenant, if one
-- does. ARGV: the call's own token, number, the wish or '' where it is settled at once, version, doubted, run, how many
-- pairing codes in how many ms ('' where none is asked for), how many dials in how many ms, whether the owner lives, our
-- instance, the nonce of the lease to take or '', its incarnation, the highest fence seen, whether readers are to look,
-- event.
-- What the last calls were answered is known for a moment: one whose answer was lost comes again, and others may have
-- wished meanwhile. Decided once more, the older wish would stand on the newer one. Answers the number, how many instances
-- heard the event, and the fence of the lease that was taken. Refused, it answers what there is to decide on.
local WISHED_MAX, WISHED_FOR_MS = 16, 10000
for _, answer in ipairs(redis.call('LRANGE', wished, 0, -1)) do
  local token, first = string.match(answer, '^(%x+) (.+)$')
  if token == ARGV[1] then return { 'done', first } end
end
if not is_at(ARGV[4]) then return { 'again', look('', '0') } end
local takes = ARGV[13] ~= ''
if takes and redis.call('EXISTS', alive) == 0 then return { 'unborn', '' } end
-- By the time of the server, which all instances share. The lists hold when it was used, the last time first.
local now = now_ms()
local limits = {
  { 'pair-codes', used_codes, ARGV[7], ARGV[8] },
  { 'dials', used_dials, ARGV[9], ARGV[10] },
}
for _, limit in ipairs(limits) do
  local name, used, max, per = unpack(limit)
  if max ~= '' then
    local first = tonumber(redis.call('LRANGE', used, max - 1, max - 1)[1])
    -- Not one of the future: a clock that was set back must not shut a tenant out.
    if first and first <= now and now - first < tonumber(per) then
      return { 'limited', name .. ' ' .. string.format('%.0f', first + per - now) }
    end
  end
end
-- A repetition, or one to disconnect. Not of a tenant that was never seen, of which there may be any number.
if ARGV[7] == '' and ARGV[9] == '' and redis.call('EXISTS', record) == 1 then allow_oom() end
-- Word of it comes first: a request that is kept and that nobody looks for would never run.
if takes then
  redis.call('SADD', owned, tenant)
elseif ARGV[3] ~= '' then
  if ARGV[11] == '1' then put_into(inbox) else redis.call('SADD', wanted, tenant) end
end
for _, limit in ipairs(limits) do
  local _, used, max, per = unpack(limit)
  if max ~= '' then
    redis.call('LPUSH', used, string.format('%.0f', now))
    redis.call('LTRIM', used, 0, max - 1)
    redis.call('PEXPIRE', used, per)
  end
end
local heard = tell(17)
redis.call('HSET', record, 'wishes', ARGV[2], 'run', ARGV[6])
local fence = takes and ' ' .. own(ARGV[13], ARGV[14], ARGV[15]) or ''
local answer = ARGV[2] .. ' ' .. heard .. fence
redis.call('LPUSH', wished, ARGV[1] .. ' ' .. answer)
redis.call('LTRIM', wished, 0, WISHED_MAX - 1)
redis.call('PEXPIRE', wished, WISHED_FOR_MS)
if ARGV[3] == '' then
  -- Its owner, if it has one, is dead: who is not wanted has none, or a dead incarnation would be listed for ever.
  redis.call('HDEL', record, 'wish')
  disown()
else
  redis.call('HSET', record, 'wish', ARGV[3])
end
changed(ARGV[5], takes and ARGV[13] or ARGV[1])
if takes or ARGV[3] == '' then
  redis.call('SREM', wanted, tenant)
  if owned_before and not (takes and owned_before == owned) then redis.call('SREM', owned_before, tenant) end
end
if takes then
  if ARGV[16] == '1' then notice() end
elseif ARGV[3] ~= '' then
  nudge(ARGV[12], '')
end
return { 'done', answer }
