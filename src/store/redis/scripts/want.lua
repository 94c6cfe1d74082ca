-- ARGV: the call's own token, number, the wish or '' where it is settled at once, version, doubted, run, event.
-- What the last calls were answered is known for a moment: one whose answer was lost comes again, and others may have
-- wished meanwhile. Decided once more, the older wish would stand on the newer one. Answers the number, and how many
-- instances heard the event.
local wished, WISHED_MAX, WISHED_FOR_MS = record .. ':wished', 16, 10000
for _, answer in ipairs(redis.call('LRANGE', wished, 0, -1)) do
  local token, told = string.match(answer, '^(%x+) (.+)$')
  if token == ARGV[1] then return { 'done', told } end
end
if not is_at(ARGV[4]) then return { 'again', '' } end
local heard = tell(7)
redis.call('HSET', record, 'wishes', ARGV[2], 'run', ARGV[6])
local answer = ARGV[2] .. ' ' .. heard
redis.call('LPUSH', wished, ARGV[1] .. ' ' .. answer)
redis.call('LTRIM', wished, 0, WISHED_MAX - 1)
redis.call('PEXPIRE', wished, WISHED_FOR_MS)
if ARGV[3] == '' then
  redis.call('HDEL', record, 'wish')
else
  redis.call('HSET', record, 'wish', ARGV[3])
end
changed(ARGV[5], ARGV[1])
return { 'done', answer }
