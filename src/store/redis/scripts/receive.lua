-- ARGV: nonce, fence. Answers a word, and the messages to this owner, newest first. Not numbered: the messages are not kept, so
-- they cannot be answered again.
if read('owner_nonce') ~= ARGV[1] or read('owner_fence') ~= ARGV[2] then return { 'fenced', {} } end
local received = redis.call('LRANGE', messages, 0, -1)
redis.call('UNLINK', messages)
return { 'done', received }
