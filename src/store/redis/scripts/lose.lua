-- ARGV: run, event. Whoever is there is not lost.
if redis.call('EXISTS', record) == 1 then return { 'done', '' } end
tell(2)
redis.call('HSET', record, 'run', ARGV[1])
changed('0')
return { 'done', '' }
