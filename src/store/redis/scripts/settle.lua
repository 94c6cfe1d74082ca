-- ARGV: the taker's token, the id of what was delivered. Answers whether nothing is left: what was said meanwhile is due
-- at once.
if read('notice_claim') ~= ARGV[1] then return 0 end
if read('notice') == ARGV[2] then
  redis.call('HDEL', record, 'notice', 'notice_at', 'notice_due', 'notice_tries', 'notice_claim')
  redis.call('ZREM', notices, tenant)
  return 1
end
redis.call('HDEL', record, 'notice_due', 'notice_tries', 'notice_claim')
redis.call('ZADD', notices, 0, tenant)
return 0
