-- ARGV: the dispatcher's token, the id of the delivered event. Answers whether nothing is left to send: a status that was
-- appended meanwhile is due at once.
if read('outbox_claim') ~= ARGV[1] then return 0 end
if read('outbox_event') == ARGV[2] then
  redis.call('HDEL', record, 'outbox_event', 'outbox_at', 'outbox_due', 'outbox_tries', 'outbox_claim')
  redis.call('ZREM', outbox, tenant)
  return 1
end
redis.call('HDEL', record, 'outbox_due', 'outbox_tries', 'outbox_claim')
redis.call('ZADD', outbox, 0, tenant)
return 0
