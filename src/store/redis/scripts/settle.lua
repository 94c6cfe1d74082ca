-- ARGV: of each tenant the dispatcher's token, the id of the event that was delivered or '', and in how many ms to try again
-- if it was not. Changes nothing if another dispatcher has taken the entry since. Answers the numbers of the tenants that may
-- have something to send: a status that was appended meanwhile is due at once.
return each(function(at)
  local token, delivered, wait = unpack(ARGV, 3 * at - 2, 3 * at)
  if read('outbox_claim') ~= token then return at end
  if delivered ~= '' then
    if read('outbox_event') == delivered then
      redis.call('HDEL', record, 'outbox_event', 'outbox_at', 'outbox_due', 'outbox_tries', 'outbox_claim')
      redis.call('ZREM', outbox, tenant)
      return nil
    end
    redis.call('HDEL', record, 'outbox_due', 'outbox_tries', 'outbox_claim')
    redis.call('ZADD', outbox, 0, tenant)
    return at
  end
  allow_oom()
  local due = string.format('%.0f', now_ms() + wait)
  redis.call('ZADD', outbox, due, tenant)
  redis.call('HSET', record, 'outbox_due', due)
  redis.call('HINCRBY', record, 'outbox_tries', 1)
  redis.call('HDEL', record, 'outbox_claim')
  return nil
end)
