-- ARGV: the taker's own token, ms for which nobody else takes it. Answers a word, when it is due, and of what is taken its
-- id, its time, how often it was tried, and the newest event with its id: by the time of a script, no instance's.
local id = read('notice')
if id == '' then return { 'none', '', '', '', '', '', '' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = tonumber(read('notice_due')) or 0
if due > now then return { 'later', string.format('%.0f', due), '', '', '', '', '' } end
allow_oom()
due = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('HSET', record, 'notice_due', due, 'notice_claim', ARGV[1])
local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
return { 'taken', due, id, read('notice_at'), read('notice_tries'), newest[1], newest[2][2] }
