-- ARGV: the dispatcher's token, the visibility timeout in ms. Answers for each entry that was taken the tenant's number, the
-- event's id, its time, how often it was not delivered, and the newest event with its id. All times are by the clock of Redis.
local now = now_ms()
local taken_until = string.format('%.0f', now + ARGV[2])
return each(function(at)
  allow_oom()
  -- First the index: an entry that cannot be taken makes room for others.
  redis.call('ZADD', outbox, taken_until, tenant)
  local id, due = read('outbox_event'), read('outbox_due')
  if id == '' then
    redis.call('ZREM', outbox, tenant)
    return nil
  end
  if (tonumber(due) or 0) > now then
    redis.call('ZADD', outbox, due, tenant)
    return nil
  end
  redis.call('HSET', record, 'outbox_due', taken_until, 'outbox_claim', ARGV[1])
  local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
  return { at, id, read('outbox_at'), read('outbox_tries'), newest[1], newest[2][2] }
end)
