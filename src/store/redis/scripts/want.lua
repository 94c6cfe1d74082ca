-- ARGV: the call's own token, number, the wish or '' where it is settled at once, version, doubted, run, event.
if read('wish_token') == ARGV[1] then return { 'done', read('wishes') } end
if not is_at(ARGV[4]) then return { 'again', '' } end
tell(7)
redis.call('HSET', record, 'wish_token', ARGV[1], 'wishes', ARGV[2], 'run', ARGV[6])
if ARGV[3] == '' then
  redis.call('HDEL', record, 'wish')
else
  redis.call('HSET', record, 'wish', ARGV[3])
end
changed(ARGV[5], ARGV[1])
return { 'done', ARGV[2] }
