-- Makes the incarnation the owner. Answers the lease's fence, which is above every fence that the record or the caller has
-- seen.
local function own(nonce, incarnation, highest)
  local fence = math.max(tonumber(redis.call('HGET', record, 'fences') or '0'), tonumber(highest)) + 1
  fence = string.format('%.0f', fence)
  redis.call('HSET', record, 'owner_nonce', nonce, 'owner_incarnation', incarnation, 'owner_fence', fence, 'fences', fence)
  redis.call('UNLINK', messages)
  return fence
end
