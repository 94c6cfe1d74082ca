-- Makes the incarnation the owner. The fence is made here, in the step that takes: above every one that the record or the
-- taker ever saw. Answers it.
local function own(nonce, incarnation, highest)
  local fence = math.max(tonumber(redis.call('HGET', record, 'fences') or '0'), tonumber(highest)) + 1
  fence = string.format('%.0f', fence)
  redis.call('HSET', record, 'owner_nonce', nonce, 'owner_incarnation', incarnation, 'owner_fence', fence, 'fences', fence)
  redis.call('UNLINK', said)
  return fence
end
