-- ARGV: the time counted, in ms; how long the tenant has to be idle, or '' to remove it at once; the nonce of an owner that is
-- known to have expired, or ''. KEYS behind the named ones: the sets `owned` and `inbox` of every incarnation. A tenant with
-- credentials, a desired state or another owner stays. Answers what was done.
local owner = read('owner_nonce')
if read('desired') ~= '' or (owner ~= '' and owner ~= ARGV[3]) or redis.call('EXISTS', tables) == 1 then
  return 'busy'
end
if ARGV[2] ~= '' then
  if redis.call('EXISTS', record) == 0 then return 'missing' end
  -- A change by any version of the program restarts the idle time, since it makes another version of the record.
  if read('idle_since') == '' or not is_at(read('idle_version')) then
    redis.call('HSET', record, 'idle_version', read('version'), 'idle_since', ARGV[1])
    return 'begun'
  end
  if tonumber(ARGV[1]) - tonumber(read('idle_since')) < tonumber(ARGV[2]) then return 'idle' end
end
for _, entry in ipairs(redis.call('XRANGE', history, '-', '+')) do
  redis.call('UNLINK', code_of(entry[1]))
end
redis.call('ZREM', outbox, tenant)
redis.call('SREM', wanted, tenant)
for at = NAMED + 1, #KEYS do
  redis.call('SREM', KEYS[at], tenant)
end
redis.call('UNLINK', messages, requests, crashes, used_codes, used_dials, history, record)
refresh()
return 'forgotten'
