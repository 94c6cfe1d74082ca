-- ARGV: nonce, fence. Answers a word, and what was said to this owner, newest first. Not numbered, since it is not kept to be
-- answered again.
if read('owner_nonce') ~= ARGV[1] or read('owner_fence') ~= ARGV[2] then return { 'fenced', {} } end
local words = redis.call('LRANGE', said, 0, -1)
redis.call('UNLINK', said)
return { 'done', words }
